//! How many connections of a worker are open: a process that ends waits for them.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// Counts open connections.
#[derive(Debug, Default)]
pub struct OpenConnections {
    open: Rc<Cell<usize>>,
    none_left: Rc<Notify>,
}

/// A connection that is open.
#[derive(Debug)]
pub struct OpenConnection {
    open: Rc<Cell<usize>>,
    none_left: Rc<Notify>,
}

impl OpenConnections {
    /// Counts one as long as the guard lives.
    pub fn enter(&self) -> OpenConnection {
        self.open.set(self.open.get() + 1);
        OpenConnection { open: self.open.clone(), none_left: self.none_left.clone() }
    }

    /// Waits until there is none.
    pub async fn all_closed(&self) {
        while self.open.get() > 0 {
            self.none_left.notified().await;
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.none_left.notify_one();
        }
    }
}

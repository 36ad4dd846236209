//! A body, or the part of it that passes, as scripts see it.

use bytes::Bytes;
use mlua::{Error, UserData, UserDataMethods};

use super::stream::Life;

/// Which of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// All of it.
    Whole,
    /// The part that passes.
    Chunk,
}

/// Bytes, for a script.
pub(super) struct Buffer {
    pub(super) life: Life,
    pub(super) which: Which,
}

impl Buffer {
    fn bytes(&self) -> mlua::Result<Bytes> {
        let stream = self.life.stream()?;
        let bytes = match self.which {
            Which::Whole => stream.body.borrow().clone(),
            Which::Chunk => stream.chunk.borrow().clone(),
        };
        Ok(bytes.unwrap_or_default())
    }

    fn set(&self, bytes: Bytes) -> mlua::Result<usize> {
        let stream = self.life.stream()?;
        let length = bytes.len();
        match self.which {
            Which::Whole => {
                stream.set_length(length);
                stream.body.replace(Some(bytes));
            }
            Which::Chunk => {
                let before = stream.chunk.borrow().as_ref().map_or(0, Bytes::len);
                if stream.length_told.get() && before != length {
                    // Whoever gets it would take the rest for another message.
                    return Err(stream.refuse("the length of the body has been told: remove `content-length` before it passes"));
                }
                stream.chunk.replace(Some(bytes));
            }
        }
        Ok(length)
    }
}

impl UserData for Buffer {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("length", |_, this, ()| Ok(this.bytes()?.len()));
        methods.add_method("getBytes", |lua, this, (index, length): (i64, i64)| {
            let bytes = this.bytes()?;
            let part = usize::try_from(index).ok().zip(usize::try_from(length).ok());
            let part = part.and_then(|(index, length)| bytes.get(index..index.checked_add(length)?));
            match part {
                Some(part) => lua.create_string(part),
                None => Err(Error::runtime("index/length must be >= 0 and (index + length) must be <= buffer size")),
            }
        });
        methods.add_method("setBytes", |_, this, bytes: mlua::String| this.set(Bytes::copy_from_slice(&bytes.as_bytes())));
    }
}

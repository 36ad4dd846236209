//! Who is let in of those that come by TLS: who has shown by a certificate or a token who that is. What that is good for is looked at later.

use std::sync::Arc;
use std::time::SystemTime;

use weir_ads::{Admission, Asked, Guard, Shown};

use crate::authority::credential::Credential;
use crate::refusals::Count;
use crate::shared::Shared;

/// Looks at each call, in the task of its connection: strangers are in nobody's way but their own.
pub(super) struct Door(pub Arc<Shared>);

impl Guard for Door {
    fn admit<'a>(&'a self, shown: &'a Shown, asked: Asked) -> Admission<'a> {
        let Self(shared) = self;
        Box::pin(async move {
            let config = shared.mesh.borrow().config.clone();
            let credential = Credential::of(shown, &shared.judges(), &config, SystemTime::now()).await;
            credential.map(drop).inspect_err(|status| match asked {
                Asked::Stream => shared.refusals.refuse_stream(Count::WrongCredential, status.message()),
                Asked::Certificate => {
                    shared.refusals.count(Count::Requests);
                    shared.refusals.count(Count::NotKnown);
                    shared.refusals.tell_no_certificate(format_args!("somebody at {}", shown.peer), status.message());
                }
            })
        })
    }
}

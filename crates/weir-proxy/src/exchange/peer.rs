//! The workload at the other side of a connection, as it tells of itself: believed where both sides have shown certificates of a mesh, and
//! read once for all requests that say the same.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use weir_config::peer_metadata::PeerMetadata;
use weir_http1::HeaderValue;
use weir_routing::template::{PeerField, PeerPart};

use super::ends::{Ends, Members};
use crate::stats::principals::Pair;

/// A workload that has told of itself.
#[derive(Debug, Default)]
pub struct PeerWorkload {
    /// What it tells.
    pub metadata: PeerMetadata,
    /// The number of the two sides in the series of its worker, once something was counted.
    pair: OnceCell<Pair>,
}

impl PeerWorkload {
    /// The number of the two sides; `find` finds it the first time.
    pub(super) fn pair(&self, find: impl FnOnce() -> Pair) -> Pair {
        *self.pair.get_or_init(find)
    }

    /// Appends what a log asks for; whether there is such a thing.
    pub(super) fn append(&self, part: PeerPart, out: &mut Vec<u8>) -> bool {
        let known =
            || PeerField::ALL.map(|(field, name)| (name, self.metadata.field(field))).into_iter().filter(|(_, text)| !text.is_empty());
        match part {
            PeerPart::Field(field) => {
                let text = self.metadata.field(field);
                out.extend_from_slice(text.as_bytes());
                !text.is_empty()
            }
            // In none of the values is anything that would have to be escaped.
            PeerPart::Object => {
                let fields: Vec<String> = known().map(|(name, text)| format!("\"{name}\":\"{text}\"")).collect();
                out.extend_from_slice(format!("{{{}}}", fields.join(",")).as_bytes());
                true
            }
            PeerPart::Plain => {
                let fields: Vec<String> = known().map(|(name, text)| format!("{name}={text}")).collect();
                out.extend_from_slice(fields.join(",").as_bytes());
                true
            }
        }
    }
}

/// What was heard last of the other side of a connection, or of an instance by any of its connections.
#[derive(Debug, Default)]
pub struct LastHeard(RefCell<Option<Box<Heard>>>);

#[derive(Debug)]
struct Heard {
    header: HeaderValue,
    own: Box<str>,
    peer: Box<str>,
    workload: Option<Rc<PeerWorkload>>,
}

impl LastHeard {
    /// The workload that a header tells of, on a connection with these ends; none that is not believed.
    pub fn hear(&self, header: HeaderValue, ends: &Ends) -> Option<Rc<PeerWorkload>> {
        let Members { own, peer, namespace } = ends.members()?;
        let mut last = self.0.borrow_mut();
        let heard = match last.take() {
            Some(heard) if heard.header == header && *heard.own == *own && *heard.peer == *peer => heard,
            _ => {
                let metadata = PeerMetadata::read(header.as_bytes(), namespace);
                let workload = metadata.map(|metadata| Rc::new(PeerWorkload { metadata, pair: OnceCell::new() }));
                Box::new(Heard { header, own: own.into(), peer: peer.into(), workload })
            }
        };
        last.insert(heard).workload.clone()
    }
}

#[cfg(test)]
mod tests {
    use weir_config::http::client_certificate::ShownCertificate;
    use weir_config::workload::Workload;

    use super::*;

    fn ends(own: &str, peer: &str, is_validated: bool) -> Ends {
        let shown = ShownCertificate { uris: vec![peer.to_owned()], is_validated, ..ShownCertificate::default() };
        Ends::new(vec![own.to_owned()], Some(shown))
    }

    fn web(namespace: &str) -> PeerMetadata {
        let workload = Workload { name: "web".to_owned(), namespace: namespace.to_owned(), ..Workload::default() };
        PeerMetadata { workload, kind: "deployment", ..PeerMetadata::default() }
    }

    fn header(namespace: &str) -> HeaderValue {
        HeaderValue::try_from(web(namespace).write()).expect("a value")
    }

    const OWN: &str = "spiffe://td/ns/back/sa/app";
    const SHOP: &str = "spiffe://td/ns/shop/sa/web";

    #[test]
    fn only_members_of_a_mesh_are_believed() {
        let table = [
            (ends(OWN, SHOP, true), Some("shop")),
            (ends(OWN, SHOP, false), None),
            (ends(OWN, "spiffe://td/ns/other/sa/web", true), None),
            (ends(OWN, "https://td/ns/shop/sa/web", true), None),
            // What we have shown is no certificate of a mesh: then who asked for one may trust anybody.
            (ends("https://app.test", SHOP, true), None),
            (Ends::new(vec![OWN.to_owned()], None), None),
            (Ends::default(), None),
        ];
        for (ends, expected) in table {
            let heard = LastHeard::default().hear(header("shop"), &ends);
            assert_eq!(heard.as_ref().map(|heard| &*heard.metadata.workload.namespace), expected, "{ends:?}");
        }
    }

    #[test]
    fn what_is_said_again_is_not_read_again() {
        let (last, shop) = (LastHeard::default(), ends(OWN, SHOP, true));
        let hear = |namespace: &str, ends: &Ends| last.hear(header(namespace), ends);
        let first = hear("shop", &shop).expect("believed");
        assert!(Rc::ptr_eq(&first, &hear("shop", &shop).expect("believed")));
        assert!(hear("other", &shop).is_none());
        // An instance at the same address is another one by another connection.
        let other = ends(OWN, "spiffe://td/ns/other/sa/web", true);
        assert!(hear("shop", &other).is_none());
        assert!(hear("other", &other).is_some());
        assert!(!Rc::ptr_eq(&first, &hear("shop", &shop).expect("believed")));
    }

    #[test]
    fn logs_tell_of_workloads_as_istios_do() {
        let told = |metadata: PeerMetadata, part| {
            let mut out = vec![];
            PeerWorkload { metadata, pair: OnceCell::new() }.append(part, &mut out).then(|| String::from_utf8(out).expect("ASCII"))
        };
        for (part, expected) in [
            (PeerPart::Object, Some(r#"{"type":"deployment","workload":"web","namespace":"shop"}"#)),
            (PeerPart::Plain, Some("type=deployment,workload=web,namespace=shop")),
            (PeerPart::Field(PeerField::Workload), Some("web")),
            (PeerPart::Field(PeerField::Version), None),
        ] {
            assert_eq!(told(web("shop"), part).as_deref(), expected, "{part:?}");
        }
        assert_eq!(told(PeerMetadata::default(), PeerPart::Object).as_deref(), Some("{}"));
    }
}

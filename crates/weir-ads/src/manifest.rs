//! What tells a client that it has all of a route configuration whose virtual hosts come one by one.
//!
//! The delta protocol has no words for "this is all of it". So the server sends, beside the virtual hosts `80/a` and `80/b` of
//! a route configuration `80`, one of no name, `80/`, that is none: it holds a sum of the names and versions of all that the
//! table is made of, the route configuration among them. A client takes over a table when its own sum is that one,
//! whatever the order was in which its parts came.

use std::sync::Arc;

use weir_xds::Any;
use weir_xds::core::Metadata;
use weir_xds::resource::virtual_host_name;
use weir_xds::route::VirtualHost;
use weir_xds::values::{metadata_text, set_metadata, text};

/// Where the sum stands in the metadata of the resource.
const NAMESPACE: &str = "weir";
const KEY: &str = "manifest";

/// A sum of names and versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manifest(u64);

impl Manifest {
    /// Adds a resource.
    pub fn add(&mut self, name: &str, version: &str) {
        self.0 = self.0.wrapping_add(hash(name, version));
    }

    /// Takes away a resource that was added with this version.
    pub fn remove(&mut self, name: &str, version: &str) {
        self.0 = self.0.wrapping_sub(hash(name, version));
    }

    /// The name of the resource that tells the one of a route configuration.
    pub fn name_of(route_configuration: &str) -> Arc<str> {
        virtual_host_name(route_configuration, "").into()
    }

    /// The resource that tells it.
    pub fn pack(self, route_configuration: &str) -> Any {
        let mut metadata = Metadata::default();
        set_metadata(&mut metadata, NAMESPACE, KEY, text(format!("{:016x}", self.0)));
        Any::pack(&VirtualHost { name: route_configuration.to_owned(), metadata: Some(metadata), ..Default::default() })
    }

    /// Reads such a resource; none if it is no manifest.
    pub fn read(body: &Any) -> Option<Self> {
        let host = body.unpack::<VirtualHost>().ok()?;
        let written = metadata_text(host.metadata.as_ref()?, NAMESPACE, KEY)?;
        u64::from_str_radix(written, 16).ok().map(Self)
    }
}

/// Of a name and a version, the same in every build of server and client: FNV-1a, stirred so that sums of such numbers are as
/// good as the numbers.
fn hash(name: &str, version: &str) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let bytes = name.bytes().chain([0]).chain(version.bytes());
    let folded = bytes.fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let stirred = (folded ^ (folded >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let stirred = (stirred ^ (stirred >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    stirred ^ (stirred >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_that_of_what_is_there_however_it_came() {
        let of = |parts: &[(&str, &str)]| {
            let mut manifest = Manifest::default();
            parts.iter().for_each(|(name, version)| manifest.add(name, version));
            manifest
        };
        let mut changed = of(&[("80", "1"), ("80/a", "1"), ("80/b", "1")]);
        changed.add("80/a", "2");
        changed.remove("80/b", "1");
        changed.remove("80/a", "1");
        assert_eq!(changed, of(&[("80/a", "2"), ("80", "1")]));
        for other in [of(&[("80", "1")]), of(&[("80/a", "1"), ("80", "2")]), of(&[("80/a2", ""), ("80", "1")])] {
            assert_ne!(changed, other);
        }
        assert_eq!(Manifest::read(&changed.pack("80")), Some(changed));
        assert_eq!(Manifest::read(&Any::pack(&VirtualHost::default())), None);
    }

    #[test]
    fn every_build_reckons_alike() {
        let mut manifest = Manifest::default();
        manifest.add("80/reviews:9080", "00000000000000ff");
        assert_eq!(manifest.0, 0xc64d_3579_fd0b_ff71);
    }
}

//! What tells proxies that they have all of a route configuration whose virtual hosts come one by one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use weir_ads::{Manifest, Names, Resource, ResourceSet, Version};
use weir_xds::resource::{ResourceType, route_configuration_of};

/// The manifest of each route configuration that is divided, kept with the set that it is in.
#[derive(Default)]
pub(crate) struct Manifests {
    known: HashMap<Arc<str>, Manifest>,
    /// Those that are not in the set yet as they are.
    changed: BTreeSet<Arc<str>>,
}

impl Manifests {
    /// Takes in what becomes of a resource; `is_divided` if that is a route configuration whose virtual hosts come one by one.
    pub fn take(&mut self, kind: ResourceType, name: &Arc<str>, is_divided: bool, before: Option<Version>, now: Option<Version>) {
        let whole: Arc<str> = match kind {
            ResourceType::VirtualHost => match route_configuration_of(name) {
                Some(whole) => whole.into(),
                None => return,
            },
            ResourceType::Route if is_divided || self.known.contains_key(name) => name.clone(),
            _ => return,
        };
        let manifest = self.known.entry(whole.clone()).or_default();
        before.into_iter().for_each(|version| manifest.remove(name, &version.to_string()));
        now.into_iter().for_each(|version| manifest.add(name, &version.to_string()));
        self.changed.insert(whole);
    }

    /// Puts those that changed into the set, and takes away those of route configurations that are gone.
    pub fn settle(&mut self, set: &mut ResourceSet, names: &mut Names) {
        const KIND: ResourceType = ResourceType::VirtualHost;
        for name in std::mem::take(&mut self.changed) {
            let own = Manifest::name_of(&name);
            match self.known.get(&name).filter(|_| set.get(ResourceType::Route, &name).is_some()) {
                Some(manifest) => set.insert(KIND, own.clone(), Resource::packed(manifest.pack(&name))),
                None => {
                    self.known.remove(&name);
                    set.remove(KIND, &own);
                }
            }
            names.insert(KIND, own);
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::Any;

    use super::*;

    fn put(set: &mut ResourceSet, manifests: &mut Manifests, kind: ResourceType, name: &str, content: Option<&str>) {
        let name: Arc<str> = name.into();
        let version = |set: &ResourceSet| set.get(kind, &name).map(|resource| resource.version);
        let before = version(set);
        match content {
            Some(content) => {
                let body = Any { type_url: kind.type_url(), value: content.as_bytes().to_vec().into() };
                set.insert(kind, name.clone(), Resource::packed(body));
            }
            None => set.remove(kind, &name),
        }
        manifests.take(kind, &name, kind == ResourceType::Route, before, version(set));
        manifests.settle(set, &mut Names::default());
    }

    fn manifest(set: &ResourceSet) -> Option<Any> {
        Some(set.get(ResourceType::VirtualHost, "80/")?.body.clone())
    }

    #[test]
    fn a_manifest_is_that_of_the_parts_as_they_are_and_goes_with_the_route_configuration() {
        use ResourceType::{Route, VirtualHost};
        let (mut set, mut manifests) = (ResourceSet::default(), Manifests::default());
        let mut put = |kind, name, content| {
            put(&mut set, &mut manifests, kind, name, content);
            manifest(&set)
        };
        let without = put(Route, "80", Some("rest"));
        let one = put(VirtualHost, "80/a", Some("1"));
        let two = put(VirtualHost, "80/a", Some("2"));
        assert!(without.is_some() && without != one && one != two && without != two);
        assert_eq!(put(VirtualHost, "80/a", Some("1")), one);
        assert_eq!(put(VirtualHost, "81/a", Some("1")), one, "another route configuration's");
        assert_eq!(put(VirtualHost, "80/a", None), without);
        assert_ne!(put(Route, "80", Some("other")), without);
        assert_eq!(put(Route, "80", None), None);
    }
}

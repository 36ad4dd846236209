//! Leaves out of a descriptor set what no Rust code needs: each message costs compile time, used or not.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::{DescriptorProto, FileDescriptorSet};

/// Keeps the messages of the files `roots`, and what their fields are made of. Google's own types stay: `prost` has them already,
/// and has to see them.
pub fn prune(set: &mut FileDescriptorSet, roots: &[&str]) {
    let mut fields = BTreeMap::new();
    let mut wanted = vec![];
    for file in &set.file {
        let package = format!(".{}", file.package());
        file.message_type.iter().for_each(|message| collect(&package, message, &mut fields));
        if roots.contains(&file.name()) {
            wanted.extend(file.message_type.iter().map(|message| format!("{package}.{}", message.name())));
        }
    }
    let kept = reachable(wanted, &fields);
    for file in &mut set.file {
        let package = format!(".{}", file.package());
        if package == ".google.protobuf" {
            continue;
        }
        file.message_type.retain(|message| kept.contains(&format!("{package}.{}", message.name())));
        file.message_type.iter_mut().for_each(|message| trim(&package, message, &kept));
        file.enum_type.retain(|of| kept.contains(&format!("{package}.{}", of.name())));
    }
    set.file.retain(|file| !file.message_type.is_empty() || !file.enum_type.is_empty());
}

/// Notes the types of a message's fields, and of those of the messages within it.
fn collect(outer: &str, message: &DescriptorProto, fields: &mut BTreeMap<String, Vec<String>>) {
    let name = format!("{outer}.{}", message.name());
    message.nested_type.iter().for_each(|nested| collect(&name, nested, fields));
    fields.insert(name, message.field.iter().filter_map(|field| field.type_name.clone()).collect());
}

fn reachable(mut wanted: Vec<String>, fields: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    let mut kept = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        // A type within a message cannot be without it.
        wanted.extend(name.rsplit_once('.').map(|(outer, _)| outer.to_owned()).filter(|outer| fields.contains_key(outer)));
        wanted.extend(fields.get(&name).into_iter().flatten().filter(|name| !kept.contains(*name)).cloned());
        kept.insert(name);
    }
    kept
}

fn trim(outer: &str, message: &mut DescriptorProto, kept: &BTreeSet<String>) {
    let name = format!("{outer}.{}", message.name());
    message.nested_type.retain(|nested| kept.contains(&format!("{name}.{}", nested.name())));
    message.nested_type.iter_mut().for_each(|nested| trim(&name, nested, kept));
    message.enum_type.retain(|of| kept.contains(&format!("{name}.{}", of.name())));
}

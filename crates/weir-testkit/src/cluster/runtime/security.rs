//! As whom a container's processes run, and what they may: `setpriv` makes it so.

use std::collections::BTreeSet;

use super::cri::LinuxContainerSecurityContext;

/// What a root may who is not said to be allowed more: as containerd has it.
const USUAL: [&str; 14] = [
    "audit_write",
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "mknod",
    "net_bind_service",
    "net_raw",
    "setfcap",
    "setgid",
    "setpcap",
    "setuid",
    "sys_chroot",
];
const ALL: &str = "all";

/// The user, by number or name.
pub(super) fn user(context: &LinuxContainerSecurityContext) -> String {
    match &context.run_as_user {
        Some(user) => user.value.to_string(),
        None if context.run_as_username.is_empty() => "0".to_owned(),
        None => context.run_as_username.clone(),
    }
}

/// The command that runs another as it is to be run.
pub(super) fn command(context: &LinuxContainerSecurityContext) -> Vec<String> {
    let group = context.run_as_group.as_ref().map_or(0, |group| group.value);
    let mut words = ["/usr/bin/setpriv", "--reuid", &user(context), "--regid", &group.to_string()].map(str::to_owned).to_vec();
    if context.supplemental_groups.is_empty() {
        words.push("--clear-groups".to_owned());
    } else {
        let groups: Vec<String> = context.supplemental_groups.iter().map(ToString::to_string).collect();
        words.extend(["--groups".to_owned(), groups.join(",")]);
    }
    if !context.privileged {
        words.extend(["--bounding-set".to_owned(), bounds(context), "--inh-caps".to_owned(), "-all".to_owned()]);
    }
    words.extend(context.no_new_privs.then(|| "--no-new-privs".to_owned()));
    words.push("--".to_owned());
    words
}

/// The capabilities that there can be, as `setpriv` wants them.
fn bounds(context: &LinuxContainerSecurityContext) -> String {
    let named = |names: &[String]| -> BTreeSet<String> {
        names.iter().map(|name| name.to_lowercase()).map(|name| name.strip_prefix("cap_").map_or(name.clone(), str::to_owned)).collect()
    };
    let (added, dropped) =
        context.capabilities.as_ref().map(|change| (named(&change.add_capabilities), named(&change.drop_capabilities))).unwrap_or_default();
    if added.contains(ALL) {
        return dropped.iter().fold("+all".to_owned(), |bounds, name| bounds + ",-" + name);
    }
    let kept = USUAL.iter().filter(|name| !dropped.contains(ALL) && !dropped.contains(**name)).map(|name| (*name).to_owned());
    let bounds: BTreeSet<String> = kept.chain(added).collect();
    bounds.iter().fold("-all".to_owned(), |bounds, name| bounds + ",+" + name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::runtime::cri::{Capability, Int64Value};

    fn context(add: &[&str], drop: &[&str]) -> LinuxContainerSecurityContext {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let capabilities = Capability { add_capabilities: own(add), drop_capabilities: own(drop), ..Default::default() };
        LinuxContainerSecurityContext { capabilities: Some(capabilities), ..Default::default() }
    }

    #[test]
    fn what_is_dropped_is_gone_but_for_what_is_added() {
        assert_eq!(bounds(&context(&["NET_ADMIN", "CAP_NET_RAW"], &["ALL"])), "-all,+net_admin,+net_raw");
        assert_eq!(bounds(&context(&[], &["ALL"])), "-all");
        assert_eq!(bounds(&context(&["ALL"], &["SYS_TIME"])), "+all,-sys_time");
        let usual = bounds(&context(&[], &["NET_RAW"]));
        assert!(usual.contains("+chown") && !usual.contains("net_raw"), "{usual}");
    }

    #[test]
    fn a_process_runs_as_it_is_said() {
        let context = LinuxContainerSecurityContext {
            run_as_user: Some(Int64Value { value: 1337 }),
            run_as_group: Some(Int64Value { value: 1338 }),
            supplemental_groups: vec![7, 8],
            no_new_privs: true,
            ..context(&[], &["ALL"])
        };
        let words = "/usr/bin/setpriv --reuid 1337 --regid 1338 --groups 7,8 --bounding-set -all --inh-caps -all --no-new-privs --";
        assert_eq!(command(&context).join(" "), words);
    }
}

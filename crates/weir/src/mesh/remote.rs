//! A pilot that serves proxies of other machines.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, bail};
use weir_pilot::{Followed, Pilot, PilotNames, Tokens};

use super::descriptors;
use super::process::bind;
use crate::cli::RemoteArgs;

/// So many connections there may be, if the system allows as many open files.
const CONNECTIONS: usize = 10_000;

/// The key of the tokens by which they show who they are at first; none where nobody is served by TLS, or nothing is kept.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn tokens(args: &RemoteArgs, state: Option<&Path>) -> anyhow::Result<Option<Tokens>> {
    let Some(state) = state.filter(|_| !args.tls_xds.is_empty()) else { return Ok(None) };
    Tokens::kept_in(state).map(Some).context("the key of the tokens cannot be used")
}

/// Serves them where it was asked for, by as many connections as these open files are enough for; says where.
///
/// # Errors
/// If a name cannot stand in a certificate, or an address cannot be had.
pub(crate) async fn serve_remote(
    pilot: &Pilot,
    args: &RemoteArgs,
    authority: &Followed,
    descriptors: Option<u64>,
) -> anyhow::Result<Vec<String>> {
    let names = names(&args.tls_name, "--tls-name")?;
    if args.tls_xds.is_empty() {
        return Ok(vec![]);
    }
    let connections = descriptors::connections(descriptors).and_then(|most| usize::try_from(most).ok());
    let secure = pilot.secure(names, authority, connections.map_or(CONNECTIONS, |most| most.min(CONNECTIONS)));
    let mut places = vec![];
    for address in &args.tls_xds {
        let listener = bind(*address, "xDS by TLS", "--tls-xds").await?;
        places.push(format!("{} (TLS)", listener.local_addr()?));
        tokio::spawn(secure.clone().serve(listener));
    }
    Ok(places)
}

/// What the pilot is called, as a flag says.
///
/// # Errors
/// If something is neither a name nor an address.
pub(super) fn names(written: &[String], flag: &str) -> anyhow::Result<PilotNames> {
    let mut names = PilotNames::default();
    for name in written {
        match name.parse::<IpAddr>() {
            Ok(address) => names.addresses.push(address),
            Err(_) if is_name(name) => names.names.push(name.clone()),
            Err(_) => bail!("{flag} {name:?} is neither a name of the DNS nor an address; a port does not belong to it"),
        }
    }
    Ok(names)
}

fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pilot_is_called_by_names_and_addresses() {
        let read = names(&["pilot.example".to_owned(), "192.0.2.1".to_owned(), "fd00::1".to_owned()], "--tls-name").unwrap();
        assert_eq!((read.names.len(), read.addresses.len()), (1, 2));
        for wrong in ["", "pilot.example:15012", "a b", "*.example", "-a", "pilot."] {
            assert!(names(&[wrong.to_owned()], "--tls-name").is_err(), "{wrong}");
        }
    }
}

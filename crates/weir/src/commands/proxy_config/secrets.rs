//! Secrets: that they are there, and what they are. What is in them nobody tells.

use serde_json::Value;

use crate::cli::SecretsArgs;
use crate::commands::dump::name_of;
use crate::print;

pub(super) fn filter<'v>(secrets: Vec<&'v Value>, args: &SecretsArgs) -> Vec<&'v Value> {
    secrets.into_iter().filter(|secret| args.name.as_ref().is_none_or(|name| name_of(secret).contains(name.as_str()))).collect()
}

pub(super) fn table(secrets: &[&Value]) -> String {
    let row = |secret: &&Value| vec![name_of(secret).to_owned(), kind(&secret["secret"]).to_owned(), "ACTIVE".to_owned()];
    print::table(&["RESOURCE NAME", "TYPE", "STATUS"], secrets.iter().map(row).collect())
}

fn kind(secret: &Value) -> &'static str {
    let has = |field: &str| secret.get(field).is_some();
    match () {
        () if has("tls_certificate") => "Cert Chain",
        () if has("validation_context") => "CA",
        () if has("session_ticket_keys") => "Session Ticket Keys",
        () if has("generic_secret") => "Generic",
        () => "",
    }
}

//! How a workload's probe travels: as the health check of a cluster, with what Envoy's API has no fields for.

use prost::Message;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use crate::Any;
use crate::core::Metadata;

/// The name of the health check that runs a command; its configuration is an [`ExecCommand`].
pub const EXEC: &str = "weir.health_checkers.exec";

/// What the metadata of a cluster says, if its health is that of the proxy's own workload and is to be told to the control
/// plane (`type.googleapis.com/istio.v1.HealthInformation`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// Seconds before the first check.
    pub initial_delay: f64,
}

impl Probe {
    /// Where it stands in a cluster's `filter_metadata`.
    pub const NAMESPACE: &str = "weir";
    /// Under which key.
    pub const KEY: &str = "probe";
    /// Its field for the seconds before the first check.
    pub const INITIAL_DELAY: &str = "initialDelaySeconds";

    /// What a cluster's metadata says, if it says so.
    pub fn read(metadata: Option<&Metadata>) -> Option<Self> {
        let value = metadata?.filter_metadata.get(Self::NAMESPACE)?.fields.get(Self::KEY)?;
        let Some(Kind::StructValue(fields)) = &value.kind else { return None };
        let initial_delay = match fields.fields.get(Self::INITIAL_DELAY).and_then(|delay| delay.kind.as_ref()) {
            Some(Kind::NumberValue(seconds)) if *seconds > 0.0 => *seconds,
            _ => 0.0,
        };
        Some(Self { initial_delay })
    }
}

/// A command and its arguments, as a `google.protobuf.Struct` with the list `command`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecCommand {
    /// The program, then its arguments.
    pub command: Vec<String>,
}

impl ExecCommand {
    const TYPE: &str = "google.protobuf.Struct";
    const FIELD: &str = "command";

    /// Packs it.
    pub fn pack(&self) -> Any {
        let values = self.command.iter().map(crate::values::text).collect();
        let list = Value { kind: Some(Kind::ListValue(ListValue { values })) };
        let fields = Struct { fields: [(Self::FIELD.to_owned(), list)].into() };
        Any { type_url: format!("type.googleapis.com/{}", Self::TYPE), value: fields.encode_to_vec().into() }
    }

    /// Unpacks it; `None` if it is something else, or names no program.
    pub fn unpack(any: &Any) -> Option<Self> {
        if any.type_name() != Self::TYPE {
            return None;
        }
        let fields = Struct::decode(any.value.clone()).ok()?;
        let Some(Kind::ListValue(list)) = &fields.fields.get(Self::FIELD)?.kind else { return None };
        let word = |value: &Value| match &value.kind {
            Some(Kind::StringValue(word)) => Some(word.clone()),
            _ => None,
        };
        let command: Vec<String> = list.values.iter().map(word).collect::<Option<_>>()?;
        (!command.is_empty()).then_some(Self { command })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_packed_and_unpacked() {
        let command = ExecCommand { command: vec!["/bin/check".into(), "-v".into()] };
        assert_eq!(ExecCommand::unpack(&command.pack()), Some(command));
        assert_eq!(ExecCommand::unpack(&ExecCommand { command: vec![] }.pack()), None);
    }
}

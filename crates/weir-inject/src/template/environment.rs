//! The proxy's environment, which Istio's users and their tools know.

use serde_json::Value;

use super::Context;
use crate::kube::Variable;
use crate::names;

/// The variables. Arguments that use one, as `$(POD_NAME)`, need it here.
pub(super) fn variables(context: &Context<'_>) -> Vec<Variable> {
    let mesh = &context.wishes.mesh;
    let mut env = vec![
        Variable::new("PILOT_CERT_PROVIDER", "istiod"),
        Variable::new("CA_ADDR", &context.wishes.control_plane),
        Variable::of_field("POD_NAME", "metadata.name"),
        Variable::of_field("POD_NAMESPACE", "metadata.namespace"),
        Variable::of_field("INSTANCE_IP", "status.podIP"),
        Variable::of_field("INSTANCE_IPS", "status.podIPs"),
        Variable::of_field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        Variable::of_field("HOST_IP", "status.hostIP"),
        Variable::of_limit("ISTIO_CPU_LIMIT", "limits.cpu"),
        Variable::new("PROXY_CONFIG", mesh.proxy_config().to_string()),
        Variable::new("ISTIO_META_POD_PORTS", ports(context).to_string()),
        Variable::new("ISTIO_META_APP_CONTAINERS", context.applications().join(",")),
        Variable::of_limit("GOMEMLIMIT", "limits.memory"),
        Variable::new("ISTIO_META_CLUSTER_ID", &context.settings.cluster),
        Variable::of_field("ISTIO_META_NODE_NAME", "spec.nodeName"),
        Variable::new("ISTIO_META_INTERCEPTION_MODE", context.interception()),
    ];
    let mut said = |name: &str, value: &str| {
        if !value.is_empty() {
            env.push(Variable::new(name, value));
        }
    };
    said("ISTIO_META_NETWORK", context.labels.get(names::NETWORK).map(String::as_str).unwrap_or_default());
    let workload = context.pod.label("service.istio.io/workload-name").unwrap_or(&context.workload.name);
    said("ISTIO_META_WORKLOAD_NAME", workload);
    said("ISTIO_META_OWNER", &context.workload.owner());
    let mesh_id = &mesh.config.default_config.mesh_id;
    said("ISTIO_META_MESH_ID", if mesh_id.is_empty() { &mesh.config.trust_domain } else { mesh_id });
    said("TRUST_DOMAIN", &mesh.config.trust_domain);
    let own = mesh.config.default_config.proxy_metadata.iter().chain(&context.settings.environment);
    for (name, value) in own {
        env.retain(|variable| variable.name != *name);
        env.push(Variable::new(name, value));
    }
    env
}

/// The ports that the pod's containers speak of.
fn ports(context: &Context<'_>) -> Value {
    let containers = context.pod.containers("containers").iter();
    Value::Array(containers.flat_map(|container| container["ports"].as_array().into_iter().flatten()).cloned().collect())
}

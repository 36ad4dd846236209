//! What of an Ingress leads nowhere. The API server has checked all else.

use super::checker::Checker;
use crate::resources::ingress::{Ingress, IngressBackend};

/// Checks an Ingress of the class that is carried out.
pub(super) fn check(c: &mut Checker<'_>, ingress: &Ingress) {
    if let Some(backend) = &ingress.spec.default_backend {
        c.field("defaultBackend", |c| check_backend(c, backend));
    }
    c.each("rules", &ingress.spec.rules, |c, rule| {
        let paths = rule.http.as_ref().map(|http| http.paths.as_slice()).unwrap_or_default();
        c.field("http", |c| c.each("paths", paths, |c, path| c.field("backend", |c| check_backend(c, &path.backend))));
    });
}

fn check_backend(c: &mut Checker<'_>, backend: &IngressBackend) {
    if backend.service.is_none() {
        c.warn_help("requests go nowhere from here: only a service can be a backend", "name a `service`");
    }
}

#[cfg(test)]
mod tests {
    use crate::validate::testing::said;

    #[test]
    fn backends_that_are_no_services_are_told_of_where_the_class_is_ours() {
        let spec = |class: &str| {
            format!(
                "ingressClassName: {class}\ndefaultBackend: {{resource: {{kind: Bucket, name: b}}}}\nrules:\n\
                 - {{host: a.test, http: {{paths: [{{path: /a, backend: {{service: {{name: a}}}}}}, {{path: /b, backend: {{}}}}]}}}}"
            )
        };
        let expected = ["warning: defaultBackend", "warning: rules[0].http.paths[1].backend"];
        assert_eq!(said("Ingress", &spec("istio")), expected);
        assert_eq!(said("Ingress", &spec("nginx")), [""; 0]);
    }
}

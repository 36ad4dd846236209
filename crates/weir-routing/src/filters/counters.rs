//! What filters count of the requests that pass them, under Envoy's names. All workers add to the same numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::FilterPolicy;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes the counters of a filter. Each is called as Envoy calls it.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident: $($counter:ident)+) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        #[allow(missing_docs)] // Each is Envoy's statistic of that name.
        pub struct $name {
            $(pub $counter: $crate::filters::counters::Counter,)+
        }

        impl $name {
            /// All of them, with their names.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($counter), self.$counter.get()),)+]
            }
        }
    };
}
pub(crate) use counters;

/// What a filter of a connection manager has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistics<'p> {
    /// What stands between the connection manager's name and the counters' in Envoy's names of them.
    pub kind: &'static str,
    /// A label and its value, where the configuration gives the filter a name.
    pub label: Option<(&'static str, &'p str)>,
    /// The counters' names, and how far they have come.
    pub counts: Vec<(&'static str, u64)>,
}

impl FilterPolicy {
    /// What the filter has counted, if it counts anything of its own that belongs to its connection manager.
    pub fn statistics(&self) -> Option<Statistics<'_>> {
        let (kind, counts) = match self {
            Self::AdmissionControl(policy) => ("admission_control", policy.counted.all()),
            Self::BasicAuth(policy) => ("basic_auth", policy.counted.all()),
            Self::Cors(policy) => ("cors", policy.counted.all()),
            Self::Csrf(policy) => ("csrf", policy.counted.all()),
            Self::ExtAuthz(policy) => ("ext_authz", policy.counted.all()),
            Self::Fault(policy) => ("fault", policy.counted.all()),
            _ => return None,
        };
        let label = match self {
            Self::ExtAuthz(policy) if !policy.stat_prefix.is_empty() => Some(("envoy_ext_authz_prefix", &*policy.stat_prefix)),
            _ => None,
        };
        Some(Statistics { kind, label, counts })
    }
}

#[cfg(test)]
mod tests {
    use weir_xds::Any;
    use weir_xds::cors::Cors;
    use weir_xds::router::Router;

    use super::*;

    #[test]
    fn a_filter_tells_what_it_has_counted() {
        let compile = |config: &Any| FilterPolicy::compile(config).expect("valid").expect("known");
        let filter = compile(&Any::pack(&Cors::default()));
        if let FilterPolicy::Cors(cors) = &filter {
            cors.counted.origin_valid.count();
        }
        let counts = vec![("origin_valid", 1), ("origin_invalid", 0)];
        assert_eq!(filter.statistics(), Some(Statistics { kind: "cors", label: None, counts }));
        assert_eq!(compile(&Any::pack(&Router::default())).statistics(), None);
    }
}

//! What each field of a VirtualService means, and which rule is for which host: a table of cases.
//!
//! A group of cases is one configuration. What each of its calls must lead to is written once and checked three times: over
//! Weir's proxies, over Envoy behind Weir's pilot, and by what `weir explain` says of the same files. So a mesh is started
//! once for a group and data plane, and cases of one group keep apart by their hosts.
//!
//! | module | what it has |
//! |---|---|
//! | [`table`] | how a case is written |
//! | [`text`] | what its texts may leave open: ports, instances |
//! | [`live`] | calls through proxies that run |
//! | [`explained`] | the same calls, explained |

mod explained;
mod live;
mod table;
mod text;

mod actions;
mod cors;
mod delegates;
mod gateways;
mod headers;
mod hosts;
mod https;
mod matches;
mod paths;
mod policies;
mod redirects;
mod scopes;
mod sources;
mod tcp;

/// Makes three tests for each group of cases, by the name of the function that returns it.
macro_rules! checked {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            use weir_testkit::DataPlane;

            crate::support::over_each_data_plane!(live);

            async fn live(plane: DataPlane) {
                crate::fields::live::check(plane, super::$name()).await;
            }

            #[tokio::test]
            async fn explained() {
                crate::fields::explained::check(super::$name()).await;
            }
        }
    )+ };
}
use checked;

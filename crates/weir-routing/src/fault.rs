//! Faults on purpose: Envoy's fault filter, compiled
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter>).

use std::time::Duration;

use weir_xds::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use weir_xds::fault::HttpFault;
use weir_xds::fault::fault_abort::ErrorType;
use weir_xds::values::{millionths, std_duration};

use crate::error::CompileError;

/// What a route does to some of its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// It holds them back first.
    pub delay: Option<Injected<Duration>>,
    /// It answers them itself then.
    pub abort: Option<Injected<Abort>>,
}

/// A fault, and how many of a million requests it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injected<T> {
    /// What is done.
    pub what: T,
    /// To how many of a million; which they are is up to chance.
    pub millionths: u32,
}

/// The answer to a request that is not sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// An HTTP status.
    Http(u16),
    /// A gRPC status; to a request that is no gRPC call, 200.
    Grpc(u16),
}

impl<T: Copy> Injected<T> {
    /// What is done to the request that a random number stands for, if anything is.
    pub fn strike(&self, random: u32) -> Option<T> {
        (random % 1_000_000 < self.millionths).then_some(self.what)
    }
}

impl Fault {
    /// Compiles Envoy's fault; `None` if it does nothing.
    ///
    /// # Errors
    /// If it is of a kind that is not carried out: a test that should find errors must not pass for want of them.
    pub fn compile(fault: &HttpFault) -> Result<Option<Self>, CompileError> {
        if !fault.headers.is_empty() || !fault.downstream_nodes.is_empty() || fault.response_rate_limit.is_some() {
            return Err(CompileError::unsupported("headers, downstream_nodes or response_rate_limit"));
        }
        let share = |percentage: &Option<_>| percentage.as_ref().map_or(0, millionths);
        let delay = match &fault.delay {
            None => None,
            Some(delay) => match &delay.fault_delay_secifier {
                Some(FaultDelaySecifier::FixedDelay(fixed)) => {
                    Some(Injected { what: std_duration(fixed), millionths: share(&delay.percentage) })
                }
                _ => return Err(CompileError::unsupported("delay.header_delay")),
            },
        };
        let abort = match &fault.abort {
            None => None,
            Some(abort) => {
                let what = match &abort.error_type {
                    Some(ErrorType::HttpStatus(status)) => Abort::Http(code(*status, "abort.http_status")?),
                    Some(ErrorType::GrpcStatus(status)) => Abort::Grpc(code(*status, "abort.grpc_status")?),
                    _ => return Err(CompileError::unsupported("abort.header_abort")),
                };
                Some(Injected { what, millionths: share(&abort.percentage) })
            }
        };
        let (delay, abort) = (delay.filter(|delay| delay.millionths > 0), abort.filter(|abort| abort.millionths > 0));
        Ok((delay.is_some() || abort.is_some()).then_some(Self { delay, abort }))
    }
}

fn code(number: u32, field: &str) -> Result<u16, CompileError> {
    u16::try_from(number).map_err(|_| CompileError::new(field, format!("{number} is no status")))
}

#[cfg(test)]
mod tests {
    use weir_xds::envoy::extensions::filters::common::fault::v3::FaultDelay;
    use weir_xds::fault::FaultAbort;
    use weir_xds::types::{FractionalPercent, fractional_percent::DenominatorType};
    use weir_xds::values::duration;

    use super::*;

    #[test]
    fn a_share_may_be_as_small_as_one_in_a_million() {
        let percentage = |numerator| Some(FractionalPercent { numerator, denominator: DenominatorType::Million.into() });
        let delay = FaultDelay {
            percentage: percentage(1),
            fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(duration(Duration::from_secs(5)))),
        };
        let abort = FaultAbort { percentage: percentage(0), error_type: Some(ErrorType::HttpStatus(503)), ..Default::default() };
        let fault = Fault::compile(&HttpFault { delay: Some(delay), abort: Some(abort), ..Default::default() });
        let fault = fault.expect("valid").expect("a delay");
        // No percentage, or none of a million, is never.
        assert_eq!(fault.abort, None);
        let delay = fault.delay.expect("a delay");
        assert_eq!((delay.strike(0), delay.strike(1), delay.strike(1_000_000)), (Some(delay.what), None, Some(delay.what)));
    }
}

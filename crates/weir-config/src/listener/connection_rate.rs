//! The network filter that limits how many connections a filter chain takes in some time: Envoy's local rate limit of connections
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/local_rate_limit_filter>).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_routing::CompileError;
use weir_routing::filters::local_ratelimit::{Level, TokenBucket};
use weir_xds::core::RuntimeFeatureFlag;
use weir_xds::network_ratelimit::LocalRateLimit;

/// A bucket that each connection takes a token of. It is one for all workers, as long as its filter chain stays as it is.
#[derive(Debug)]
pub struct ConnectionRate {
    /// Names it in statistics.
    pub stat_prefix: Arc<str>,
    bucket: TokenBucket,
    level: AtomicU64,
    limited: AtomicU64,
}

impl ConnectionRate {
    /// Compiles the filter; none where it is switched off, or its bucket is never empty.
    ///
    /// # Errors
    /// If it is not valid.
    pub(super) fn compile(limit: &LocalRateLimit) -> Result<Option<Self>, CompileError> {
        let LocalRateLimit {
            stat_prefix,
            token_bucket,
            runtime_enabled,
            // Reported.
            share_key: _,
        } = limit;
        if stat_prefix.is_empty() {
            return Err(CompileError::missing("stat_prefix"));
        }
        let bucket = token_bucket.as_ref().ok_or_else(|| CompileError::missing("token_bucket"))?;
        let bucket = TokenBucket::compile(bucket).map_err(|error| error.within("token_bucket"))?;
        if let Some(RuntimeFeatureFlag { default_value: Some(false), runtime_key: _ }) = runtime_enabled {
            return Ok(None);
        }
        Ok(bucket.map(|bucket| Self {
            stat_prefix: stat_prefix.as_str().into(),
            level: AtomicU64::new(bucket.full(Duration::ZERO).to_bits()),
            bucket,
            limited: AtomicU64::new(0),
        }))
    }

    /// Whether a connection is let in that comes at this time since any moment.
    pub fn admit(&self, now: Duration) -> bool {
        let next = |bits| self.bucket.take(Level::from_bits(bits), now, 1).map(Level::to_bits);
        let is_admitted = self.level.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok();
        if !is_admitted {
            self.limited.fetch_add(1, Ordering::Relaxed);
        }
        is_admitted
    }

    /// How many connections came too soon.
    pub fn limited(&self) -> u64 {
        self.limited.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn compile(limit: Value) -> Result<Option<ConnectionRate>, CompileError> {
        ConnectionRate::compile(&weir_xds::json::from_value(limit).expect("well formed"))
    }

    #[test]
    fn so_many_connections_are_let_in_and_then_as_many_as_the_bucket_gets_tokens() {
        let rate = compile(json!({"statPrefix": "r", "tokenBucket": {"maxTokens": 2, "tokensPerFill": 1, "fillInterval": "1s"}}));
        let rate = rate.expect("valid").expect("a limit");
        let table =
            [(5.0, true), (5.0, true), (5.0, false), (5.5, false), (6.0, true), (6.0, false), (60.0, true), (60.0, true), (60.0, false)];
        for (now, admitted) in table {
            assert_eq!(rate.admit(Duration::from_secs_f64(now)), admitted, "{now}");
        }
        assert_eq!(rate.limited(), 4);
    }

    #[test]
    fn what_envoy_refuses_is_refused() {
        let bucket = json!({"maxTokens": 1, "fillInterval": "1s"});
        for (limit, path) in [
            (json!({"tokenBucket": bucket}), "stat_prefix"),
            (json!({"statPrefix": "r"}), "token_bucket"),
            (json!({"statPrefix": "r", "tokenBucket": {"maxTokens": 1, "fillInterval": "0.01s"}}), "token_bucket.fill_interval"),
        ] {
            assert_eq!(compile(limit).expect_err(path).path, path);
        }
        let off = json!({"statPrefix": "r", "tokenBucket": bucket, "runtimeEnabled": {"defaultValue": false, "runtimeKey": "k"}});
        assert!(compile(off).expect("valid").is_none());
    }
}

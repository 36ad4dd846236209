//! Shares of requests.

use weir_xds::core::RuntimeFractionalPercent;
use weir_xds::types::FractionalPercent;
use weir_xds::types::fractional_percent::DenominatorType;

use crate::error::CompileError;

const MILLION: u32 = 1_000_000;

/// How many of all requests something is for; which they are is up to chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    numerator: u32,
    /// What one of the numerator stands for, in millionths.
    unit: u32,
}

impl Share {
    /// No request.
    pub const NONE: Self = Self { numerator: 0, unit: 1 };
    /// All requests.
    pub const ALL: Self = Self { numerator: MILLION, unit: 1 };

    /// The share that a fraction stands for.
    pub fn of(percent: &FractionalPercent) -> Self {
        let unit = match percent.denominator() {
            DenominatorType::Hundred => 10_000,
            DenominatorType::TenThousand => 100,
            DenominatorType::Million => 1,
        };
        Self { numerator: percent.numerator, unit }
    }

    /// The share that a fraction of the runtime stands for: its default, since there is no runtime that could say otherwise.
    pub(super) fn of_runtime(percent: Option<&RuntimeFractionalPercent>, field: &str) -> Result<Option<Self>, CompileError> {
        let Some(RuntimeFractionalPercent { default_value, runtime_key: _ }) = percent else { return Ok(None) };
        let percent = default_value.as_ref().ok_or_else(|| CompileError::missing("default_value").within(field))?;
        Ok(Some(Self::of(percent)))
    }

    /// This share, or a lesser one whose numerator is given.
    pub fn at_most(self, numerator: u32) -> Self {
        Self { numerator: self.numerator.min(numerator), ..self }
    }

    /// Whether the request that a random number stands for belongs to it.
    pub fn takes(self, random: u32) -> bool {
        u64::from(random % MILLION) < u64::from(self.numerator) * u64::from(self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_takes_so_many_of_a_million() {
        let share = |numerator, denominator: DenominatorType| Share::of(&FractionalPercent { numerator, denominator: denominator.into() });
        let cases = [
            (Share::NONE, 0, false),
            (Share::ALL, 999_999, true),
            (share(1, DenominatorType::Hundred), 9_999, true),
            (share(1, DenominatorType::Hundred), 10_000, false),
            (share(1, DenominatorType::TenThousand), 100, false),
            (share(1, DenominatorType::Million), 1_000_000, true),
            (share(u32::MAX, DenominatorType::Hundred), 999_999, true),
            (share(50, DenominatorType::Hundred).at_most(10), 100_000, false),
            (share(50, DenominatorType::Hundred).at_most(90), 499_999, true),
        ];
        for (share, random, taken) in cases {
            assert_eq!(share.takes(random), taken, "{share:?} {random}");
        }
    }
}

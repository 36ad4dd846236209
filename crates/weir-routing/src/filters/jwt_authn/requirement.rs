//! What is required of a request's tokens, and whether a request meets it.
//!
//! Envoy's rules, to the letter: a provider's own tokens must all be good; of alternatives the first that is met counts, and if
//! none is, the client is told what is wrong with a token rather than that there is none.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_xds::jwt_authn::jwt_requirement::RequiresType;
use weir_xds::jwt_authn::{JwtRequirement, JwtRequirementAndList, JwtRequirementOrList, ProviderWithAudiences};
use weir_xds::prost_types::value::Kind;
use weir_xds::prost_types::{Struct, Value};
use weir_xds::values::text;

use super::claims::with_lists;
use super::keys::KeySet;
use super::places::{Found, Places};
use super::provider::{Audiences, KeySource, Provider};
use super::status::Status;
use super::token::Token;
use super::view::View;
use crate::error::CompileError;

/// Requests with more tokens than this are refused: nobody sends them but to have them verified.
const MOST_TOKENS: usize = 20;

/// What is required.
#[derive(Debug)]
pub(super) enum Requirement {
    Nothing,
    /// A token of this provider, maybe for other audiences than its own.
    Provider(usize, Option<Audiences>),
    Any(Box<[Requirement]>, Leniency),
    All(Box<[Requirement]>),
    /// Tokens of whatever provider, if there are any.
    Lenient(Leniency),
}

/// What is forgiven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Leniency {
    /// That there is no token.
    missing: bool,
    /// That a token is not good.
    failed: bool,
}

/// The keys of a provider, as far as they are there.
#[derive(Debug, Clone)]
pub enum Held {
    /// These.
    Keys(Arc<KeySet>),
    /// They are to be fetched first.
    Nowhere,
    /// They could not be fetched.
    Failed,
}

/// Why a requirement is not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmet {
    /// A token is not good, or there is none.
    Status(Status),
    /// That is not known yet: the keys of this provider are needed.
    Keys(usize),
}

impl Requirement {
    pub fn compile(message: &JwtRequirement, providers: &[Provider]) -> Result<Self, CompileError> {
        let provider = |name: &str| {
            let position = providers.iter().position(|provider| *provider.name == *name);
            position.ok_or_else(|| CompileError::new("provider_name", format!("there is no provider `{name}`")))
        };
        let JwtRequirement { requires_type } = message;
        Ok(match requires_type {
            None => Self::Nothing,
            Some(RequiresType::ProviderName(name)) => Self::Provider(provider(name)?, None),
            Some(RequiresType::ProviderAndAudiences(ProviderWithAudiences { provider_name, audiences })) => {
                Self::Provider(provider(provider_name)?, (!audiences.is_empty()).then(|| Audiences::new(audiences)))
            }
            Some(RequiresType::RequiresAny(JwtRequirementOrList { requirements })) => Self::any(requirements, providers)?,
            Some(RequiresType::RequiresAll(JwtRequirementAndList { requirements })) => {
                Self::All(each("requires_all", requirements, providers)?.into())
            }
            Some(RequiresType::AllowMissing(())) => Self::Lenient(Leniency { missing: true, failed: false }),
            Some(RequiresType::AllowMissingOrFailed(())) => Self::Lenient(Leniency { missing: true, failed: true }),
            // Anybody could write such a token.
            Some(RequiresType::ExtractOnlyWithoutValidation(_)) => {
                return Err(CompileError::unsupported("extract_only_without_validation"));
            }
        })
    }

    fn any(requirements: &[JwtRequirement], providers: &[Provider]) -> Result<Self, CompileError> {
        let mut leniency = Leniency::default();
        let mut others = vec![];
        for requirement in each("requires_any", requirements, providers)? {
            match requirement {
                Self::Lenient(Leniency { failed: true, .. }) => leniency.failed = true,
                Self::Lenient(_) => leniency.missing = true,
                other => others.push(other),
            }
        }
        // What is forgiven stands for itself only where nothing else is required.
        let is_lenient = leniency.missing || leniency.failed;
        Ok(if others.is_empty() && is_lenient { Self::Lenient(leniency) } else { Self::Any(others.into(), leniency) })
    }
}

fn each(field: &str, requirements: &[JwtRequirement], providers: &[Provider]) -> Result<Vec<Requirement>, CompileError> {
    if requirements.len() < 2 {
        return Err(CompileError::new(format!("{field}.requirements"), "must be two or more"));
    }
    let one = |(i, requirement)| {
        Requirement::compile(requirement, providers).map_err(|error| error.within(&format!("{field}.requirements[{i}]")))
    };
    requirements.iter().enumerate().map(one).collect()
}

/// One request before its requirement.
pub(super) struct Judge<'j> {
    pub providers: &'j [Provider],
    /// The places of all of them.
    pub places: &'j Places,
    pub now: u64,
    pub keys: &'j dyn Fn(usize) -> Held,
    pub view: View<'j>,
    /// What is left for filters and logs.
    pub data: BTreeMap<String, Value>,
    pub clears_route: bool,
    /// The providers whose tokens were accepted.
    pub accepted: Vec<usize>,
    /// Tokens that were not accepted, with the providers that they are of.
    pub failures: Vec<(Option<usize>, Status)>,
}

impl Judge<'_> {
    /// Whether the request meets a requirement.
    ///
    /// # Errors
    /// Why it does not.
    pub fn judge(&mut self, requirement: &Requirement) -> Result<(), Unmet> {
        match requirement {
            Requirement::Nothing => Ok(()),
            Requirement::Provider(provider, audiences) => self.provider(*provider, audiences.as_ref()),
            Requirement::Any(requirements, leniency) => self.any(requirements, *leniency),
            Requirement::All(requirements) => requirements.iter().try_for_each(|requirement| self.judge(requirement)),
            Requirement::Lenient(leniency) => self.lenient(*leniency),
        }
    }

    fn any(&mut self, requirements: &[Requirement], leniency: Leniency) -> Result<(), Unmet> {
        let mut told = Status::Missing;
        for requirement in requirements {
            let status = match self.judge(requirement) {
                Ok(()) => return Ok(()),
                Err(Unmet::Status(status)) => status,
                unmet @ Err(Unmet::Keys(_)) => return unmet,
            };
            if told == Status::Missing || !matches!(status, Status::Missing | Status::UnknownIssuer) {
                told = status;
            }
        }
        if leniency.failed || leniency.missing && told == Status::Missing { Ok(()) } else { Err(Unmet::Status(told)) }
    }

    fn provider(&mut self, index: usize, audiences: Option<&Audiences>) -> Result<(), Unmet> {
        let providers = self.providers;
        let Some(provider) = providers.get(index) else { return Err(Unmet::Status(Status::UnknownIssuer)) };
        let mut found = provider.places.find(&self.view);
        if found.len() > MOST_TOKENS {
            return Err(Unmet::Status(Status::VerificationFails));
        }
        if found.is_empty() {
            self.note_failure(Some(index), Status::Missing);
            return Err(Unmet::Status(Status::Missing));
        }
        // One bad token beside good ones may be the one that the instance believes.
        while let Some(token) = found.pop() {
            self.token(&token, Some(index), audiences)?;
        }
        Ok(())
    }

    fn lenient(&mut self, leniency: Leniency) -> Result<(), Unmet> {
        let places = self.places;
        let mut found = places.find(&self.view);
        if found.len() > MOST_TOKENS {
            return Err(Unmet::Status(Status::VerificationFails));
        }
        let mut last = Err(Unmet::Status(Status::Missing));
        while let Some(token) = found.pop() {
            last = self.token(&token, None, None);
            if let Err(Unmet::Keys(_)) = last {
                return last;
            }
        }
        match last {
            Err(Unmet::Status(status)) if leniency.failed || leniency.missing && status == Status::Missing => Ok(()),
            last => last,
        }
    }

    /// One token; what it is for, where nobody says of which provider it should be.
    fn token(&mut self, found: &Found<'_>, provider: Option<usize>, audiences: Option<&Audiences>) -> Result<(), Unmet> {
        let mut whose = None;
        let verified = self.verify(found, provider, &mut whose, audiences);
        if let Err(Unmet::Status(status)) = verified {
            self.failures.push((whose, status));
            self.note_failure(whose.or(provider), status);
        }
        verified
    }

    fn verify(
        &mut self,
        found: &Found<'_>,
        provider: Option<usize>,
        whose: &mut Option<usize>,
        audiences: Option<&Audiences>,
    ) -> Result<(), Unmet> {
        let token = Token::parse(&found.text).map_err(Unmet::Status)?;
        if !found.is_allowed(&token.issuer) {
            return Err(Unmet::Status(Status::UnknownIssuer));
        }
        *whose = provider.or_else(|| self.issuer(&token.issuer));
        let providers = self.providers;
        let Some((index, provider)) = whose.and_then(|index| Some((index, providers.get(index)?))) else {
            return Err(Unmet::Status(Status::UnknownIssuer));
        };
        provider.check(&token, audiences, self.now).map_err(Unmet::Status)?;
        let held = match &provider.keys {
            KeySource::Known(keys) => Held::Keys(keys.clone()),
            KeySource::Unusable(status) => return Err(Unmet::Status(*status)),
            KeySource::Remote(_) => (self.keys)(index),
        };
        match held {
            Held::Keys(keys) => keys.verify(&token).map_err(Unmet::Status)?,
            Held::Nowhere => return Err(Unmet::Keys(index)),
            Held::Failed => return Err(Unmet::Status(Status::FetchFails)),
        }
        self.accept(provider, &token, found);
        self.accepted.push(index);
        Ok(())
    }

    /// The provider of an issuer: the first of this name, else the first that takes any.
    fn issuer(&self, issuer: &str) -> Option<usize> {
        let named = |name: &str| self.providers.iter().position(|provider| provider.issuer == name);
        named(issuer).or_else(|| named(""))
    }

    /// What becomes of a request with a good token.
    fn accept(&mut self, provider: &Provider, token: &Token<'_>, found: &Found<'_>) {
        if let Some(header) = &provider.payload_header {
            let payload = token.written_payload;
            let padding = if provider.pads_payload { (4 - payload.len() % 4) % 4 } else { 0 };
            self.view.add(header, format!("{payload}{}", "=".repeat(padding)).as_bytes());
        }
        let mut has_headers = false;
        for claim in &provider.claims {
            if let Some(value) = claim.value(&token.payload) {
                has_headers |= self.view.add(&claim.header, value.as_bytes());
            }
        }
        if !provider.forwards {
            found.remove(&mut self.view);
        }
        self.leave(&provider.header_in, || token.header.clone());
        self.leave(&provider.payload_in, || with_lists(&token.payload, &provider.lists));
        self.clears_route |= provider.clears_route && (has_headers || !provider.payload_in.is_empty());
    }

    /// Leaves something for filters and logs, where a key is named for it.
    fn leave(&mut self, key: &str, fields: impl FnOnce() -> Struct) {
        if !key.is_empty() {
            self.data.insert(key.to_owned(), Value { kind: Some(Kind::StructValue(fields())) });
        }
    }

    /// Leaves why a token is refused; where its provider is not known, as the only one that there is says.
    fn note_failure(&mut self, provider: Option<usize>, status: Status) {
        let only = (self.providers.len() == 1).then_some(0);
        let providers = self.providers;
        if let Some(provider) = provider.or(only).and_then(|index| providers.get(index)) {
            let code = Value { kind: Some(Kind::NumberValue(status.code().into())) };
            let fields = [("code".to_owned(), code), ("message".to_owned(), text(status.text()))];
            self.leave(&provider.failure_in, || Struct { fields: fields.into() });
        }
    }
}

//! Tokens of workloads on other machines: who has one may have a certificate of the mesh. They are SPIFFE's (JWT-SVID), signed by a key that
//! is kept beside the root, and short-lived: a machine joins by one, and has a certificate from then on.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use weir_model::Identity;
use weir_routing::filters::jwt_authn::KeySet;
use weir_xds::prost_types::value::Kind;
use weir_xds::prost_types::{Struct, Value};
use zeroize::{Zeroize, Zeroizing};

use super::credential::{Bound, Credential, Names};
use super::{AuthorityError, private};

/// Where the key is, in the folder of what is kept.
const FILE: &str = "token-key.pem";
/// For whom tokens are: Istio's word for a mesh's authority.
const AUDIENCE: &str = "istio-ca";
/// Which workload a token is for, where it is for one alone.
const WORKLOAD: &str = "weir.workload";
/// How long a token may hold.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The key that signs tokens, and knows them again.
pub struct Tokens {
    pair: EcdsaKeyPair,
    /// What tells it from others.
    id: String,
    known: KeySet,
}

/// Nobody prints a key.
impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a token is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Of which trust domain the identity is.
    pub trust_domain: String,
    /// Who has it.
    pub identity: Identity,
    /// The workload that it is for; none if it is for all of the identity.
    pub workload: Option<Bound>,
    /// How long it holds, which is not longer than [`LONGEST`].
    pub lifetime: Duration,
}

impl Tokens {
    /// Those whose key is kept in a folder; it is made, if there is none yet.
    ///
    /// # Errors
    /// If the folder is not ours alone to write to, or the key not ours alone to read.
    pub fn kept_in(state: &Path) -> Result<Self, AuthorityError> {
        private::folder(state)?;
        let _locked = private::lock(state)?;
        let path = state.join(FILE);
        let failed = |error| AuthorityError::File(path.clone(), error);
        if !path.try_exists().map_err(failed)? {
            let mut key = KeyPair::generate()?;
            let written = Zeroizing::new(key.serialize_pem());
            key.zeroize();
            private::put_new(&path, written.as_bytes()).map_err(failed)?;
        }
        let pem = private::read(&path)?;
        Self::of_pem(pem.as_bytes()).map_err(|reason| AuthorityError::Unusable(PathBuf::from(&path), reason))
    }

    fn of_pem(pem: &[u8]) -> Result<Self, String> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der());
        let pair = pair.map_err(|_| "is no key of the curve P-256".to_owned())?;
        let public = pair.public_key().as_ref();
        let id = digest::digest(&digest::SHA256, public).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        // Uncompressed: a byte that says so, and the two coordinates.
        let (x, y) = public.get(1..).and_then(|point| point.split_at_checked(32)).ok_or("is no point of the curve")?;
        let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
        let set = json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": id, "x": x, "y": y}]});
        let known = KeySet::parse(set.to_string().as_bytes()).map_err(|status| status.text().to_owned())?;
        Ok(Self { pair, id, known })
    }

    /// Signs one.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn sign(&self, grant: &Grant, now: SystemTime) -> Result<String, String> {
        let Grant { trust_domain, identity, workload, lifetime } = grant;
        let seconds = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let id = private::random_hex::<8>().map_err(|error| error.to_string())?;
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.id});
        let mut claims = json!({
            "sub": identity.spiffe(trust_domain),
            "aud": [AUDIENCE],
            "iat": seconds(now),
            "exp": seconds(now + (*lifetime).min(LONGEST)),
            "jti": id.as_str(),
        });
        if let (Some(workload), Some(claims)) = (workload, claims.as_object_mut()) {
            claims.insert(WORKLOAD.to_owned(), json!({"kind": workload.kind(), "name": workload.name()}));
        }
        let parts = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = parts.join(".");
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|_| "the system has no randomness")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Who has a token, if this key has signed it and it holds now.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub(crate) fn read(&self, token: &str, names: Names<'_>, now: SystemTime) -> Result<Credential, String> {
        let claims = self.known.claims(token).map_err(|status| format!("the token is not one of this mesh: {}", status.text()))?;
        let id = word(&claims, "sub").unwrap_or_default();
        let whose = |reason: String| format!("the token of {id:?} {reason}");
        let ends = seconds(&claims, "exp").ok_or_else(|| whose("says no end".to_owned()))?;
        if !is_for_us(&claims) {
            return Err(whose(format!("is not for {AUDIENCE:?}")));
        }
        if let Ok(since) = now.duration_since(ends) {
            return Err(whose(format!("has ended {} s ago: write another one with `weir workload token`", since.as_secs())));
        }
        let identity = names.identity(id).map_err(whose)?;
        let workload = workload(&claims).map_err(|()| whose("is for a workload of another kind".to_owned()))?;
        Ok(Credential { identity, workload, ends, is_reviewed: false })
    }
}

fn word<'c>(claims: &'c Struct, name: &str) -> Option<&'c str> {
    match claims.fields.get(name)?.kind.as_ref()? {
        Kind::StringValue(word) => Some(word),
        _ => None,
    }
}

/// A time of a claim; none if it is none.
fn seconds(claims: &Struct, name: &str) -> Option<SystemTime> {
    match claims.fields.get(name)?.kind.as_ref()? {
        Kind::NumberValue(seconds) => {
            SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(*seconds).ok().filter(|time| !time.is_zero())?)
        }
        _ => None,
    }
}

fn is_for_us(claims: &Struct) -> bool {
    let is_us = |value: &Value| matches!(&value.kind, Some(Kind::StringValue(audience)) if audience == AUDIENCE);
    match claims.fields.get("aud").and_then(|audiences| audiences.kind.as_ref()) {
        Some(Kind::ListValue(list)) => list.values.iter().any(is_us),
        _ => claims.fields.get("aud").is_some_and(is_us),
    }
}

/// The workload that a token is for; none if it names none.
fn workload(claims: &Struct) -> Result<Option<Bound>, ()> {
    match claims.fields.get(WORKLOAD).map(|workload| workload.kind.as_ref()) {
        None => Ok(None),
        Some(Some(Kind::StructValue(workload))) => {
            let (kind, name) = (word(workload, "kind").ok_or(())?, word(workload, "name").ok_or(())?);
            Bound::new(kind, name).map(Some).ok_or(())
        }
        Some(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NAMES: Names<'static> = Names { trust_domain: "td", aliases: &[] };

    fn grant() -> Grant {
        Grant {
            trust_domain: "td".to_owned(),
            identity: Identity::new("shop", "cart"),
            workload: Some(Bound::Entry("cart-1".to_owned())),
            lifetime: Duration::from_secs(60),
        }
    }

    fn tokens() -> Tokens {
        Tokens::kept_in(tempfile::tempdir().unwrap().path()).unwrap()
    }

    /// A token with this header and these claims, signed by the key whatever they say.
    fn written(tokens: &Tokens, header: &serde_json::Value, claims: &serde_json::Value) -> String {
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = tokens.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn a_token_says_who_has_it_until_it_ends_and_to_its_own_mesh_alone() {
        let (tokens, now) = (tokens(), SystemTime::now());
        for workload in [None, Some(Bound::Entry("cart-1".to_owned())), Some(Bound::Group("carts".to_owned()))] {
            let grant = Grant { workload: workload.clone(), ..grant() };
            let read = tokens.read(&tokens.sign(&grant, now).unwrap(), NAMES, now).unwrap();
            assert_eq!((read.identity, read.workload), (grant.identity, workload));
            let lasts = read.ends.duration_since(now).unwrap_or_default();
            assert!(lasts > Duration::from_secs(58) && lasts <= grant.lifetime, "{lasts:?}");
        }
        let long = Grant { lifetime: LONGEST * 9, ..grant() };
        let read = tokens.read(&tokens.sign(&long, now).unwrap(), NAMES, now).unwrap();
        assert!(read.ends <= now + LONGEST);
    }

    #[test]
    fn what_is_not_signed_or_by_another_key_or_for_others_is_refused() {
        let (own, other, now) = (tokens(), tokens(), SystemTime::now());
        let good = own.sign(&grant(), now).unwrap();
        let at = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let header = || json!({"alg": "ES256", "kid": own.id});
        let claims = |change: &[(&str, serde_json::Value)]| {
            let mut claims = json!({"sub": "spiffe://td/ns/shop/sa/cart", "aud": [AUDIENCE], "exp": at + 60});
            change.iter().for_each(|(name, value)| claims[*name] = value.clone());
            written(&own, &header(), &claims)
        };
        assert!(own.read(&claims(&[]), NAMES, now).is_ok() && own.read(&claims(&[("aud", json!(AUDIENCE))]), NAMES, now).is_ok());
        let (begin, _) = good.rsplit_once('.').unwrap();
        let unsigned = |algorithm: &str| {
            let header = URL_SAFE_NO_PAD.encode(json!({"alg": algorithm}).to_string());
            let (_, payload) = begin.split_once('.').unwrap();
            format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode("x"))
        };
        let not_ours = "not one of this mesh";
        for (attempt, token, expected) in [
            ("of another mesh", other.sign(&grant(), now).unwrap(), not_ours),
            ("without a signature", format!("{begin}."), not_ours),
            ("with another signature", format!("{begin}.{}", URL_SAFE_NO_PAD.encode([7; 64])), not_ours),
            ("with none", unsigned("none"), not_ours),
            ("with None", unsigned("None"), not_ours),
            ("with the public key as a password", unsigned("HS256"), not_ours),
            ("no token", "abc".to_owned(), not_ours),
            ("without an end", claims(&[("exp", json!(null))]), not_ours),
            ("with the end zero", claims(&[("exp", json!(0))]), "says no end"),
            ("for nobody", claims(&[("aud", json!([]))]), "is not for"),
            ("for others", claims(&[("aud", json!(["istio", "vault"]))]), "is not for"),
            ("of another trust domain", claims(&[("sub", json!("spiffe://other/ns/shop/sa/cart"))]), "trust domain"),
            ("of nobody", claims(&[("sub", json!("cart"))]), "no SPIFFE id"),
            ("for a workload of another kind", claims(&[(WORKLOAD, json!({"kind": "Pod", "name": "a"}))]), "of another kind"),
            ("for a workload that is none", claims(&[(WORKLOAD, json!("cart"))]), "of another kind"),
        ] {
            let refused = own.read(&token, NAMES, now).unwrap_err();
            assert!(refused.contains(expected), "{attempt}: {refused}");
        }
        let refused = own.read(&good, NAMES, now + Duration::from_secs(61)).unwrap_err();
        assert!(refused.contains("spiffe://td/ns/shop/sa/cart") && refused.contains("has ended"), "{refused}");
    }

    #[test]
    fn the_key_stays_and_is_nobody_elses_to_read() {
        let state = tempfile::tempdir().unwrap();
        let (first, now) = (Tokens::kept_in(state.path()).unwrap(), SystemTime::now());
        let token = first.sign(&grant(), now).unwrap();
        assert!(Tokens::kept_in(state.path()).unwrap().read(&token, NAMES, now).is_ok());
        let path = state.path().join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1, "nothing is left beside it");
        std::fs::write(&path, "nonsense").unwrap();
        assert!(Tokens::kept_in(state.path()).is_err());
    }
}

use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateSigningRequestParams, IsCa, Issuer};

use super::*;

const ID: &str = "spiffe://td/ns/shop/sa/cart";

/// How a proxy of the namespace `shop` asks.
fn asking(sign: Sign) -> Certification {
    Certification { sign, namespace: "shop".to_owned(), lifetime: None, again: Arc::default(), presented: None }
}

/// An authority in memory, whose certificates last so long. It keeps the requests.
fn authority(lifetime: Duration, requests: Arc<Mutex<Vec<String>>>) -> Sign {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let root = params.self_signed(&key).unwrap().pem();
    let issuer = Arc::new(Issuer::new(params, key));
    Arc::new(move |request, _| {
        requests.lock().unwrap().push(request.clone());
        let mut asked = CertificateSigningRequestParams::from_pem(&request).unwrap();
        asked.params.not_after = (SystemTime::now() + lifetime).into();
        asked.params.subject_alt_names = vec![rcgen::SanType::URI(ID.try_into().unwrap())];
        let signed = asked.signed_by(&issuer).unwrap().pem();
        let root = root.clone();
        Box::pin(async move { Ok(vec![signed, root]) })
    })
}

#[tokio::test]
async fn a_certificate_is_made_anew_with_another_key_before_it_ends() {
    let requests = Arc::new(Mutex::default());
    let how = asking(authority(Duration::from_secs(2), Arc::clone(&requests)));
    let (newest, mut seen) = watch::channel(None);
    let running = tokio::spawn(how.run("test".into(), newest, Issued::secrets));
    let mut keys = vec![];
    for _ in 0..2 {
        seen.changed().await.unwrap();
        let own = seen.borrow_and_update().clone().unwrap();
        keys.push(own.certificate().key.public_key().unwrap().to_vec());
    }
    assert_ne!(keys[0], keys[1]);
    assert_eq!(requests.lock().unwrap().len(), 2);
    drop(seen);
    running.await.unwrap();
}

#[tokio::test]
async fn an_authority_that_is_away_is_asked_again() {
    let (tries, lifetime) = (Arc::new(Mutex::new(0)), Duration::from_secs(3600));
    let there = authority(lifetime, Arc::default());
    let sign: Sign = Arc::new(move |request, lifetime| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        if *tries < 4 { Box::pin(async { Err("away".to_owned()) }) } else { there(request, lifetime) }
    });
    let (newest, mut seen) = watch::channel(None);
    tokio::spawn(asking(sign).run("test".into(), newest, Issued::secrets));
    seen.changed().await.unwrap();
    assert!(seen.borrow().is_some());
}

/// What an answer is made of.
struct Answered {
    /// The names in the certificate.
    names: Vec<&'static str>,
    /// Seconds from now until it holds, and until it ends.
    times: (i64, i64),
    /// Whether the key is ours.
    is_ours: bool,
    /// Whether the authority that is answered is the one that signed.
    is_root: bool,
}

impl Answered {
    /// What is wrong with it.
    fn check(&self) -> Result<SystemTime, String> {
        let (own, other, ca, other_ca) = (key(), key(), key(), key());
        let mut above = CertificateParams::default();
        above.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let roots = [&ca, &other_ca].map(|key| above.self_signed(key).unwrap().pem());
        let mut params = CertificateParams::default();
        params.subject_alt_names = self.names.iter().map(|name| rcgen::SanType::URI((*name).try_into().unwrap())).collect();
        let at = |seconds: i64| {
            let apart = Duration::from_secs(seconds.unsigned_abs());
            if seconds < 0 { SystemTime::now() - apart } else { SystemTime::now() + apart }
        };
        (params.not_before, params.not_after) = (at(self.times.0).into(), at(self.times.1).into());
        let chain = params.signed_by(&own, &Issuer::new(above, ca)).unwrap().pem();
        let kept = if self.is_ours { &own } else { &other };
        let key = Zeroizing::new(PrivatePkcs8KeyDer::from(kept.serialize_der()).into());
        let root = if self.is_root { &roots[0] } else { &roots[1] };
        Issued::of(&[chain, root.clone()], key)?.check("shop", SystemTime::now())
    }
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

#[test]
fn an_answer_is_of_use_that_holds_now_and_is_for_us() {
    let good = || Answered { names: vec![ID], times: (-60, 3600), is_ours: true, is_root: true };
    assert!(good().check().is_ok(), "{:?}", good().check());
    for (answered, expected) in [
        (Answered { is_ours: false, ..good() }, "the certificate does not fit the key"),
        (Answered { is_root: false, ..good() }, "the certificate does not hold"),
        (Answered { times: (-7200, -60), ..good() }, "has ended already"),
        (Answered { times: (600, 3600), ..good() }, "the certificate does not hold"),
        (Answered { names: vec![], ..good() }, "not for a workload of shop"),
        (Answered { names: vec!["spiffe://td/ns/other/sa/cart"], ..good() }, "not for a workload of shop"),
        (Answered { names: vec!["spiffe://td/ns/shop/sa/x/ns/other/sa/y"], ..good() }, "not for a workload of shop"),
        (Answered { names: vec![ID, "spiffe://td/ns/other/sa/y"], ..good() }, "not for a workload of shop"),
    ] {
        let refused = answered.check().err().unwrap();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn an_answer_that_is_none_is_refused() {
    let certificate = CertificateParams::default().self_signed(&key()).unwrap().pem();
    for (answer, expected) in [
        (vec![], "the authority's answer is empty"),
        (vec![certificate.clone()], "the authority's answer holds no certificate"),
        (vec!["nonsense".to_owned(), certificate.clone()], "the authority's answer holds no certificate"),
    ] {
        let own = Zeroizing::new(PrivatePkcs8KeyDer::from(key().serialize_der()).into());
        let refused = Issued::of(&answer, own).and_then(|issued| issued.check("shop", SystemTime::now())).err().unwrap();
        assert!(refused.contains(expected), "{refused}");
    }
    let other = key();
    let answer = [CertificateParams::default().self_signed(&other).unwrap().pem(), "nobody".to_owned()];
    let refused = Issued::of(&answer, Zeroizing::new(PrivatePkcs8KeyDer::from(other.serialize_der()).into()))
        .and_then(Issued::secrets)
        .err()
        .unwrap();
    assert!(refused.contains("the authorities are refused"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_ended_while_the_machine_slept_is_renewed_soon() {
    // The wall's clock: it goes on by a night when the machine wakes.
    let (start, woken) = (SystemTime::now(), std::sync::atomic::AtomicBool::new(false));
    let began = tokio::time::Instant::now();
    let night = Duration::from_secs(8 * 3600);
    let now = || start + began.elapsed() + if woken.load(std::sync::atomic::Ordering::Relaxed) { night } else { Duration::ZERO };
    let renewed = wait_until(start + night, now);
    let wakes = async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        woken.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(renewed, wakes);
    assert!(began.elapsed() <= Duration::from_secs(100) + SLICE, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_has_ended_when_it_comes_is_not_taken_and_asked_for_with_pauses() {
    let requests = Arc::new(Mutex::<Vec<String>>::default());
    let ended: Sign = {
        let (requests, there) = (Arc::clone(&requests), authority(Duration::ZERO, Arc::default()));
        Arc::new(move |request, lifetime| {
            requests.lock().unwrap().push(request.clone());
            there(request, lifetime)
        })
    };
    let (newest, seen) = watch::channel(None);
    let running = tokio::spawn(asking(ended).run("test".into(), newest, Issued::secrets));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(seen.borrow().is_none());
    running.abort();
    let asked = requests.lock().unwrap().len();
    assert!((5..30).contains(&asked), "{asked}");
}

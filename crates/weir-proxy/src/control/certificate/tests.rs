use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateSigningRequestParams, IsCa, Issuer};

use super::*;

/// An authority in memory, whose certificates last so long. It keeps the requests.
fn authority(lifetime: Duration, requests: Arc<Mutex<Vec<String>>>) -> Sign {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap().pem();
    let issuer = Arc::new(Issuer::new(params, key));
    Arc::new(move |request, _| {
        requests.lock().unwrap().push(request.clone());
        let mut asked = CertificateSigningRequestParams::from_pem(&request).unwrap();
        asked.params.not_after = (SystemTime::now() + lifetime).into();
        let signed = asked.signed_by(&issuer).unwrap().pem();
        let root = root.clone();
        Box::pin(async move { Ok(vec![signed, root]) })
    })
}

#[tokio::test]
async fn a_certificate_is_made_anew_with_another_key_before_it_ends() {
    let requests = Arc::new(Mutex::default());
    let how = Certification { sign: authority(Duration::from_secs(2), Arc::clone(&requests)), lifetime: None, again: Arc::default() };
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
    tokio::spawn(Certification { sign, lifetime: None, again: Arc::default() }.run("test".into(), newest, Issued::secrets));
    seen.changed().await.unwrap();
    assert!(seen.borrow().is_some());
}

#[test]
fn an_answer_that_is_of_no_use_is_refused() {
    let key = || PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(KeyPair::generate().unwrap().serialize_der()));
    let other = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default().self_signed(&other).unwrap().pem();
    for (answer, expected) in [
        (vec![], "the authority's answer is empty"),
        (vec![certificate.clone()], "the authority's answer holds no certificate"),
        (vec!["nonsense".to_owned(), certificate.clone()], "the authority's answer holds no certificate"),
        (vec![certificate.clone(), certificate.clone()], "the certificate does not fit the key"),
    ] {
        let read = |answer: &[String], key| Issued::of(answer, key).and_then(|issued| end(&issued.chain).and_then(|_| issued.secrets()));
        let refused = read(&answer, key()).err().unwrap();
        assert!(refused.contains(expected), "{refused}");
    }
    let answer = [certificate, "nobody".to_owned()];
    let refused = Issued::of(&answer, PrivatePkcs8KeyDer::from(other.serialize_der()).into()).and_then(Issued::secrets).err().unwrap();
    assert!(refused.contains("the authorities are refused"), "{refused}");
}

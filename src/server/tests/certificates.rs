//! Certificates that cannot be used, and certificates that change.

use jiff::Timestamp;
use portreeve_test_support::certificates::Leaf;
use portreeve_test_support::signer::Key;

use super::*;
use crate::server::tls::TlsStore;

fn load(files: &TlsFiles) -> Result<TlsStore, TlsError> {
    TlsStore::load(files.clone(), Arc::new(Metrics::new()))
}

#[test]
fn what_is_wrong_with_the_files_is_told() {
    let site = Site::start(|_| {});
    let path = |name: &str| site.dir.join(name);
    let other = TlsFiles { certificate: path("other.crt"), key: path("other.key"), client_ca: None };
    issue(&other, "other");
    std::fs::write(path("damaged"), "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").unwrap();
    std::fs::write(path("not-x509"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    std::fs::write(path("huge"), vec![b'\n'; (1 << 20) + 1]).unwrap();
    let good = &site.files;
    let with = |certificate: &Path, key: &Path, client_ca: Option<&Path>| TlsFiles {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        client_ca: client_ca.map(Path::to_owned),
    };
    let cases = [
        (with(&path("none"), &good.key, None), "cannot be read", "none"),
        (with(&good.key, &good.key, None), "does not contain what is expected: a PEM certificate chain", "tls.key"),
        (with(&path("damaged"), &good.key, None), "damaged", "damaged"),
        (with(&path("not-x509"), &good.key, None), "not X.509", "not-x509"),
        (with(&path("huge"), &good.key, None), "larger than", "huge"),
        (with(&good.certificate, &good.certificate, None), "PEM private key", "tls.crt"),
        (with(&good.certificate, &other.key, None), "does not belong to", "other.key"),
        (with(&good.certificate, &good.key, Some(&path("none"))), "CA certificates", "none"),
        (with(&good.certificate, &good.key, Some(&path("not-x509"))), "client CA", "not-x509"),
    ];
    for (files, what, file) in cases {
        let error = load(&files).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains(file), "{error}");
    }
    assert!(load(good).is_ok());
}

#[test]
fn every_kind_of_key_is_taken() {
    let site = Site::start(|_| {});
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        replace(&site.files.key, &key.serialize_pem());
        replace(&site.files.certificate, &params.self_signed(&key).unwrap().pem());
        assert!(load(&site.files).is_ok(), "{algorithm:?}");
    }
    // `openssl ecparam -genkey` writes SEC 1: what PKCS#8 wraps, which for P-256 begins at byte 29.
    let key = rcgen::KeyPair::generate().unwrap();
    let sec1 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &key.serialize_der()[29..]);
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    replace(&site.files.certificate, &params.self_signed(&key).unwrap().pem());
    replace(&site.files.key, &format!("-----BEGIN EC PRIVATE KEY-----\n{sec1}\n-----END EC PRIVATE KEY-----\n"));
    load(&site.files).unwrap();
}

/// Replaces the certificate by one with these dates, and its key.
fn issue_valid(files: &TlsFiles, from: Timestamp, until: Timestamp) {
    let key = Key::p256();
    replace(&files.certificate, &Leaf::new("localhost").valid(from, until).self_signed(&key));
    replace(&files.key, &key.private_pem());
}

/// The first second of a year, nearly.
fn year(year: i64) -> Timestamp {
    Timestamp::from_second((year - 1970) * 31_556_952).unwrap()
}

const FAILING: &str = r#"portreeve_reload_failing{what="certificate"} 1"#;
const NOT_FAILING: &str = r#"portreeve_reload_failing{what="certificate"} 0"#;

#[test]
fn a_certificate_that_is_out_of_date_replaces_none_that_is_in_date() {
    let site = Site::start(|_| {});
    let counts = |metrics: &Metrics, line: &str| metrics.render().lines().any(|found| found == line);
    for (from, until) in [(year(2020), year(2021)), (year(2120), year(2121))] {
        issue_valid(&site.files, year(2020), year(2119));
        let metrics = Arc::new(Metrics::new());
        let store = TlsStore::load(site.files.clone(), Arc::clone(&metrics)).unwrap();
        assert!(counts(&metrics, NOT_FAILING));
        let in_force = store.current();
        issue_valid(&site.files, from, until);
        for _ in 0..3 {
            store.look();
            assert!(Arc::ptr_eq(&in_force, &store.current()));
            assert!(counts(&metrics, FAILING));
            // It is read at each look, and counted once.
            assert!(counts(&metrics, r#"portreeve_reloads_total{what="certificate",result="failed"} 1"#));
            assert!(store.is_in_date().is_ok());
        }
        issue_valid(&site.files, year(2020), year(2120));
        store.look();
        assert!(!Arc::ptr_eq(&in_force, &store.current()));
        assert!(counts(&metrics, NOT_FAILING));
        assert!(counts(&metrics, r#"portreeve_reloads_total{what="certificate",result="ok"} 1"#));
        let until = year(2120).as_second();
        assert!(counts(&metrics, &format!("portreeve_certificate_not_after_timestamp_seconds {until}")));
    }
}

#[test]
fn with_no_other_certificate_one_that_is_out_of_date_is_served_and_the_server_is_not_ready() {
    for (from, until, other, words) in [
        (year(2020), year(2021), year(2022), "expired 202"),
        (year(2120), year(2121), year(2122), "is not valid before 21"),
    ] {
        let site = Site::start_with(|_| {}, |files| issue_valid(files, from, until));
        assert!(site.counts(FAILING));
        // Probes go to the plain port, and people see the certificate's own error.
        assert_eq!(site.plain().ask(get("/health/liveness")).status, 200);
        let answer = site.plain().ask(get("/health/readiness"));
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains(words) && answer.body.contains("tls.crt"), "{}", answer.body);
        // One that is out of date as well takes its place: the clock of this machine may be wrong.
        issue_valid(&site.files, from, other);
        site.wait_for(&format!("portreeve_certificate_not_after_timestamp_seconds {}", other.as_second()));
        issue_valid(&site.files, year(2020), year(2120));
        site.wait_for(NOT_FAILING);
        assert_eq!(site.plain().ask(get("/health/readiness")).status, 200);
    }
}

#[test]
fn a_certificate_comes_into_its_time() {
    let site = Site::start(|_| {});
    let from = Timestamp::now() + Duration::from_secs(3);
    issue_valid(&site.files, from, year(2120));
    let metrics = Arc::new(Metrics::new());
    let store = TlsStore::load(site.files.clone(), Arc::clone(&metrics)).unwrap();
    let is_failing = || metrics.render().lines().any(|line| line == FAILING);
    assert!(store.is_in_date().is_err() && is_failing());
    wait_until("it is in date", || store.is_in_date().is_ok());
    store.look();
    assert!(!is_failing());
}

#[test]
fn a_new_certificate_takes_effect_under_load_and_a_bad_one_does_not() {
    let site = Site::start(|_| {});
    let stop = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    let second_name = |client: &mut Client<StreamOwned<ClientConnection, TcpStream>>| {
        assert_eq!(client.ask(get("/health/liveness")).status, 200);
        client.stream.conn.peer_certificates().unwrap()[0].clone()
    };
    let first = second_name(&mut site.tls());
    thread::scope(|scope| {
        // A connection that stays, and new ones all the time, which trust both certificates.
        let anyone = |roots: Arc<ClientConfig>| {
            let stream = TcpStream::connect(site.address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let connection = ClientConnection::new(roots, ServerName::try_from("localhost").unwrap()).unwrap();
            Client { stream: StreamOwned::new(connection, stream), read: Vec::new() }
        };
        let files = TlsFiles { certificate: site.dir.join("b.crt"), key: site.dir.join("b.key"), client_ca: None };
        let second = issue(&files, "second");
        let both = client(&[first.clone(), second.clone()]);
        let (stop, asked) = (&stop, &asked);
        let mut kept = site.tls();
        scope.spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(kept.ask(post("/admit", "{}")).status, 200);
                asked.fetch_add(1, Ordering::SeqCst);
            }
        });
        let roots = Arc::clone(&both);
        scope.spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(anyone(Arc::clone(&roots)).ask(post("/admit", "{}")).status, 200);
                asked.fetch_add(1, Ordering::SeqCst);
            }
        });
        // The key comes first: for a moment the pair does not match, and the old pair must stay in force.
        replace(&site.files.key, &std::fs::read_to_string(&files.key).unwrap());
        site.wait_for(r#"portreeve_reloads_total{what="certificate",result="failed"} 1"#);
        assert_eq!(second_name(&mut anyone(Arc::clone(&both))), first);
        replace(&site.files.certificate, &std::fs::read_to_string(&files.certificate).unwrap());
        site.wait_for(r#"portreeve_reloads_total{what="certificate",result="ok"} 1"#);
        assert_eq!(second_name(&mut anyone(Arc::clone(&both))), second);
        // The server goes on when a file disappears.
        std::fs::remove_file(&site.files.certificate).unwrap();
        site.wait_for(r#"portreeve_reloads_total{what="certificate",result="failed"} 2"#);
        assert_eq!(second_name(&mut anyone(both)), second);
        let before = asked.load(Ordering::SeqCst);
        wait_until("the load goes on", || asked.load(Ordering::SeqCst) > before + 4);
        stop.store(true, Ordering::SeqCst);
    });
    assert!(site.counts("portreeve_panics_total 0"));
}

#[test]
fn with_a_client_ca_only_its_clients_are_heard() {
    let mut issued = None;
    let site = Site::start_with(
        |_| {},
        |files| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let ca = params.self_signed(&key).unwrap();
            let path = files.certificate.with_file_name("clients.crt");
            std::fs::write(&path, ca.pem()).unwrap();
            files.client_ca = Some(path);
            let issuer = rcgen::Issuer::new(params, key);
            let client_key = rcgen::KeyPair::generate().unwrap();
            let mut client = rcgen::CertificateParams::new(vec!["apiserver".to_owned()]).unwrap();
            client.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
            let certificate = client.signed_by(&client_key, &issuer).unwrap();
            issued = Some((certificate.der().clone(), client_key.serialize_der()));
        },
    );
    let mut stranger = site.tls();
    let heard = stranger.stream.write_all(get("/health/liveness").as_bytes()).is_ok() && !stranger.is_closed();
    assert!(!heard, "a client without a certificate was answered");

    let (certificate, key) = issued.unwrap();
    let mut store = RootCertStore::empty();
    store.add(rustls::pki_types::pem::PemObject::from_pem_file(&site.files.certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_client_auth_cert(vec![certificate], rustls::pki_types::PrivatePkcs8KeyDer::from(key).into())
        .unwrap();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let stream = TcpStream::connect(site.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client { stream: StreamOwned::new(connection, stream), read: Vec::new() };
    assert_eq!(client.ask(get("/health/liveness")).status, 200);
}

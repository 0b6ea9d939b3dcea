//! Sessions through an HTTP proxy.

use super::*;
use portreeve_verify::UnavailableCause;

/// A proxy that tunnels every CONNECT to one address, whatever was asked for, and tells what was asked for.
fn tunnel(to: std::net::SocketAddr) -> (String, std::sync::mpsc::Receiver<String>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:pa%20ss@{}", listener.local_addr().unwrap());
    let (tell, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut near, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            near.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        tell.send(String::from_utf8(head).unwrap()).unwrap();
        near.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
        let mut far = std::net::TcpStream::connect(to).unwrap();
        let (mut near_too, mut far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut near_too, &mut far_too));
        let _ = std::io::copy(&mut far, &mut near);
    });
    (url, asked)
}

#[test]
fn goes_through_the_proxy_with_tls_to_the_end() {
    let authority = Authority::new();
    let (chain, key) = authority.server(&["notary.example"]);
    let server = TrustServer::start_with(&chain, &key, authority.pem());
    server.put(REPOSITORY, FILE, "{}");
    let (url, asked) = tunnel(server.address());
    let variable = |name: &str| (name == "HTTPS_PROXY").then(|| url.clone());
    let proxies = Proxies::from_variables(variable).unwrap();
    let scratch = Scratch::new();
    let ca = scratch.write("ca.pem", server.ca_pem());
    let http = http(Some(ca), PlainHttp::Refused, proxies);
    let client = Client::over(http, PlainHttp::Refused);
    let server = ServerUrl::parse("https://notary.example:4443", PlainHttp::Refused).unwrap();
    let nobody = Credentials::known(Vec::new());
    assert_eq!(get(&client, &server, &nobody, 100, Deadline::after(Duration::from_secs(20))).unwrap(), b"{}");
    let asked = asked.recv().unwrap();
    assert!(asked.starts_with("CONNECT notary.example:4443 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("Proxy-Authorization: Basic dXNlcjpwYSBzcw=="), "{asked}");
}

/// What is said of `https://notary.example` through this proxy.
fn through(proxy: &str, wait: Duration) -> String {
    words(get_through(proxy, wait))
}

fn get_through(proxy: &str, wait: Duration) -> Result<Vec<u8>, SessionError> {
    let proxies = Proxies::from_variables(|name| (name == "HTTPS_PROXY").then(|| proxy.to_owned())).unwrap();
    let http = http(None, PlainHttp::Refused, proxies);
    let client = Client::over(http, PlainHttp::Refused);
    let server = ServerUrl::parse("https://notary.example", PlainHttp::Refused).unwrap();
    let nobody = Credentials::known(Vec::new());
    get(&client, &server, &nobody, 100, Deadline::after(wait))
}

/// A proxy that answers every connection with these bytes, and how it is written.
fn answering(bytes: &'static [u8]) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut near, _)) = listener.accept() {
            let mut head = [0; 4096];
            let _ = near.read(&mut head);
            let _ = near.write_all(bytes);
        }
    });
    url
}

#[test]
fn what_a_proxy_does_wrong_is_blamed_on_the_proxy() {
    let long = || Duration::from_secs(20);
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let with_password = format!("http://user:secret@{dead}");
    let closed = "closed the connection before it answered";
    for (proxy, expected) in [
        (with_password, "could not be reached: "),
        ("http://proxy.invalid:3128".to_owned(), "could not be reached: "),
        (
            answering(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n"),
            "requires a user name and a password, or refused those that it got (407): HTTPS_PROXY takes http://user:password@",
        ),
        (
            answering(b"HTTP/1.0 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!"),
            "does not allow connections to notary.example:443 (403): allow them there, or put the host into NO_PROXY",
        ),
        (
            answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"),
            "could not connect to notary.example:443 (it answered 503)",
        ),
        (
            answering(b"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n"),
            "refused to connect to notary.example:443 (it answered 301)",
        ),
        (answering(b""), closed),
        (answering(b"HTTP/1.1 200 O"), closed),
        (answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "sent a response that no HTTP proxy sends"),
        (answering(b"HTTP/1.1 abc\r\n\r\n"), "sent a response that no HTTP proxy sends"),
        (answering(&[b'x'; 100_000]), "sent a response that no HTTP proxy sends"),
    ] {
        let said = through(&proxy, long());
        let bare = proxy.rsplit_once(['@', '/']).unwrap().1;
        let expected = format!("trust server https://notary.example: the proxy {bare} (HTTPS_PROXY) {expected}");
        assert!(said.starts_with(&expected), "{expected}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
    // A proxy that is spoken to by TLS.
    let authority = Authority::new();
    let (chain, key) = authority.server(&["localhost"]);
    let proxy = TrustServer::start_with(&chain, &key, authority.pem());
    let url = format!("https://{}", proxy.address());
    let said = through(&url, long());
    assert!(
        said.contains("has a certificate that was not accepted: it was not issued by a CA that is trusted here"),
        "{said}"
    );
    // What goes wrong behind it is not the proxy's.
    let said = through(&answering(b"HTTP/1.1 200 Connected\r\n\r\n"), long());
    assert!(!said.contains("proxy"), "{said}");
}

#[test]
fn a_silent_proxy_cannot_outlive_the_deadline() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let started = Instant::now();
    let result = get_through(&url, Duration::from_millis(900));
    // Other requests may have more time, so this failure must not count for them.
    let Err(SessionError::Unavailable(unavailable)) = result else { panic!("expected unavailable, not {result:?}") };
    assert_eq!(unavailable.cause, UnavailableCause::OutOfTime);
    let said = unavailable.message;
    assert!(said.contains("(HTTPS_PROXY) did not answer in time"), "{said}");
    assert!(started.elapsed() < Duration::from_millis(2000), "{:?}", started.elapsed());
}

#[test]
fn a_dripping_proxy_cannot_outlive_the_deadline() {
    let url = format!("http://{}", dripping(b"HTTP/1.1 200 OK\r\nX: ".to_vec(), b'x'));
    let started = Instant::now();
    let said = through(&url, Duration::from_millis(900));
    assert!(started.elapsed() < Duration::from_millis(2000), "{:?}", started.elapsed());
    assert!(said.contains("in time"), "{said}");
}

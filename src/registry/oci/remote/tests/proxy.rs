//! Registries behind a proxy.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use super::*;

/// A proxy that connects each host to a server on this machine, and tells what was asked for.
fn proxy(hosts: Vec<(&'static str, SocketAddr)>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, asked) = channel();
    std::thread::spawn(move || {
        while let Ok((mut near, _)) = listener.accept() {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && near.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let Some((_, server)) = hosts.iter().find(|(host, _)| *host == target) else { continue };
            let (mut far, _) = (TcpStream::connect(server).unwrap(), tell.send(target));
            near.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            let (mut near_too, mut far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut near_too, &mut far_too));
            std::thread::spawn(move || std::io::copy(&mut far, &mut near));
        }
    });
    (url, asked)
}

#[test]
fn a_registry_and_its_storage_are_asked_through_the_proxy() {
    let authority = Authority::named("Registry Test CA");
    let start = |host: &str| {
        let (chain, key) = authority.server(&[host]);
        Registry::start_with(&chain, &key, authority.pem())
    };
    let (registry, storage) = (start("registry.example"), start("storage.example"));
    let image = registry.push_image(NAME, "v1", "one");
    for server in [&registry, &storage] {
        server.push_blob(NAME, *b"blob");
    }
    registry.change("/blobs/", Change::Redirect(307, "https://storage.example{}".to_owned()));
    let servers = vec![("registry.example:5000", registry.address()), ("storage.example:443", storage.address())];
    let (proxy, asked) = proxy(servers);
    let variable = |name: &str| (name == "HTTPS_PROXY").then(|| proxy.clone());
    let scratch = Scratch::new();
    let ca = scratch.write("ca.pem", authority.pem());
    let proxies = Proxies::from_variables(variable).unwrap();
    let client = Client::over(http(Some(ca), PlainHttp::Refused, proxies), PlainHttp::Refused);
    let registries = Registries::new(BTreeMap::new(), BTreeMap::new(), PlainHttp::Refused).unwrap();
    let place = registries.image_place(&Reference::parse("registry.example:5000/plant/plc:v1").unwrap());
    let (nobody, progress) = (Credentials::known(Vec::new()), Progress::default());
    let deadline = Deadline::after(Duration::from_secs(20));
    let repository = open(&client, &place, &nobody, deadline, None, &progress);
    assert_eq!(repository.image(Wanted::Tag("v1"), MAX_MANIFEST).unwrap().image.digest, digest(&image));
    assert_eq!(repository.blob(&descriptor(b"blob"), 64).unwrap(), b"blob");
    let asked: Vec<_> = asked.try_iter().collect();
    assert_eq!(asked, ["registry.example:5000", "storage.example:443"]);
}

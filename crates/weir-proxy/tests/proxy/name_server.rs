//! Questions of DNS: what the mesh knows is answered, all else by the servers that were asked before.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Edns, Message, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use weir_config::name_table::{Asker, NameTable};
use weir_proxy::name_server::{NameServer, Upstream};
use weir_xds::names::{NameInfo, NameTable as XdsNameTable};

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn names() -> NameTable {
    let info = NameInfo { ips: vec!["10.0.0.1".to_owned()], ..Default::default() };
    NameTable::compile(&XdsNameTable { table: [("a.test".to_owned(), info)].into() }, &Asker::default())
}

fn question(name: &str) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message
}

/// What a server of the outside says to everything.
fn elsewhere(question: &[u8]) -> Vec<u8> {
    let asked = Message::from_vec(question).unwrap();
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.add_queries(asked.queries.clone());
    answer.add_answer(Record::from_rdata(asked.queries[0].name.clone(), 7, RData::A(A::new(192, 0, 2, 1))));
    answer.to_vec().unwrap()
}

/// A server of the outside, over UDP and TCP.
async fn outside() -> SocketAddr {
    let (datagrams, connections) = loop {
        let datagrams = UdpSocket::bind(LOCAL).await.unwrap();
        // Somebody else may have the same port over TCP.
        if let Ok(connections) = TcpListener::bind(datagrams.local_addr().unwrap()).await {
            break (datagrams, connections);
        }
    };
    let address = datagrams.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, client) = datagrams.recv_from(&mut buffer).await.unwrap();
            // What nobody asked for is passed over.
            let answer = elsewhere(&buffer[..length]);
            let mut other = answer.clone();
            other[0] ^= 0xff;
            datagrams.send_to(&other, client).await.unwrap();
            datagrams.send_to(&answer, client).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = connections.accept().await.unwrap();
            let asked = read(&mut stream).await;
            write(&mut stream, &elsewhere(&asked)).await;
        }
    });
    address
}

async fn read(stream: &mut TcpStream) -> Vec<u8> {
    let mut message = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut message).await.unwrap();
    message
}

async fn write(stream: &mut TcpStream, message: &[u8]) {
    stream.write_u16(message.len().try_into().unwrap()).await.unwrap();
    stream.write_all(message).await.unwrap();
}

async fn over_udp(server: SocketAddr, name: &str) -> Message {
    let socket = UdpSocket::bind(LOCAL).await.unwrap();
    let asked = question(name);
    socket.send_to(&asked.to_vec().unwrap(), server).await.unwrap();
    let mut buffer = [0; 512];
    let (length, _) = socket.recv_from(&mut buffer).await.unwrap();
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(answer.metadata.id, asked.metadata.id);
    answer
}

/// A server that knows no name itself, and asks these.
async fn asking(servers: Vec<SocketAddr>) -> SocketAddr {
    let (_tell, known) = watch::channel(Some(Arc::new(names())));
    let server = NameServer::bind(LOCAL, known, Upstream::new(servers)).await.unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.run());
    address
}

fn addresses(answer: &Message) -> Vec<String> {
    answer.answers.iter().map(|record| record.data.to_string()).collect()
}

#[tokio::test]
async fn names_of_the_mesh_are_answered_and_all_others_elsewhere() {
    let (tell, known) = watch::channel(None);
    let server = NameServer::bind(LOCAL, known, Upstream::new(vec![outside().await])).await.unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.run());
    assert_eq!(over_udp(address, "a.test.").await.metadata.response_code, ResponseCode::ServFail, "before anything is known");
    tell.send_replace(Some(Arc::new(names())));
    assert_eq!(addresses(&over_udp(address, "a.test.").await), ["10.0.0.1"]);
    assert_eq!(addresses(&over_udp(address, "b.test.").await), ["192.0.2.1"]);
    let mut stream = TcpStream::connect(address).await.unwrap();
    for (name, expected) in [("a.test.", "10.0.0.1"), ("b.test.", "192.0.2.1"), ("A.test.", "10.0.0.1")] {
        write(&mut stream, &question(name).to_vec().unwrap()).await;
        assert_eq!(addresses(&Message::from_vec(&read(&mut stream).await).unwrap()), [expected], "{name}");
    }
}

#[tokio::test]
async fn where_nobody_answers_that_is_said() {
    let gone = UdpSocket::bind(LOCAL).await.unwrap().local_addr().unwrap();
    let (_tell, known) = watch::channel(Some(Arc::new(names())));
    for servers in [vec![], vec![gone]] {
        let server = NameServer::bind(LOCAL, known.clone(), Upstream::new(servers)).await.unwrap();
        let address = server.address().unwrap();
        tokio::spawn(server.run());
        assert_eq!(over_udp(address, "b.test.").await.metadata.response_code, ResponseCode::ServFail);
    }
}

/// A client gives up after five seconds, and asks a sidecar alone: so the next server is asked before that.
#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let silent = UdpSocket::bind(LOCAL).await.unwrap();
    let (_tell, known) = watch::channel(Some(Arc::new(names())));
    let upstream = Upstream::new(vec![silent.local_addr().unwrap(), outside().await]);
    let server = NameServer::bind(LOCAL, known, upstream).await.unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.run());
    assert_eq!(addresses(&over_udp(address, "b.test.").await), ["192.0.2.1"]);
}

#[tokio::test]
async fn who_asks_what_is_asked_already_gets_that_answer() {
    let (outside, client) = (UdpSocket::bind(LOCAL).await.unwrap(), UdpSocket::bind(LOCAL).await.unwrap());
    let server = asking(vec![outside.local_addr().unwrap()]).await;
    let mut ids = HashSet::new();
    // What comes last is another question: when it is asked outside, all before it have been read.
    for (id, name) in (0..=100).map(|id| (id, if id < 100 { "b.test." } else { "c.test." })) {
        let mut asked = question(name);
        asked.metadata.id = id;
        client.send_to(&asked.to_vec().unwrap(), server).await.unwrap();
        ids.insert(id);
    }
    let mut asked = vec![];
    for _ in 0..2 {
        let mut buffer = [0; 512];
        let (length, proxy) = outside.recv_from(&mut buffer).await.unwrap();
        asked.push((buffer[..length].to_vec(), proxy));
    }
    let names: Vec<_> = asked.iter().map(|(asked, _)| Message::from_vec(asked).unwrap().queries[0].name.to_string()).collect();
    assert_eq!(names, ["b.test.", "c.test."]);
    for (asked, proxy) in asked {
        outside.send_to(&elsewhere(&asked), proxy).await.unwrap();
    }
    while !ids.is_empty() {
        let mut buffer = [0; 512];
        let (length, _) = client.recv_from(&mut buffer).await.unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(addresses(&answer), ["192.0.2.1"]);
        assert!(ids.remove(&answer.metadata.id));
    }
}

/// The asker has chosen the identifier, and could otherwise answer for the server to all who ask the same.
#[tokio::test]
async fn nobody_knows_by_which_identifier_a_server_is_asked() {
    let (outside, client) = (UdpSocket::bind(LOCAL).await.unwrap(), UdpSocket::bind(LOCAL).await.unwrap());
    let server = asking(vec![outside.local_addr().unwrap()]).await;
    let mut ids = HashSet::new();
    for number in 0..8 {
        let mut asked = question(&format!("b{number}.test."));
        asked.metadata.id = 7;
        client.send_to(&asked.to_vec().unwrap(), server).await.unwrap();
        let mut buffer = [0; 512];
        let (length, proxy) = outside.recv_from(&mut buffer).await.unwrap();
        let seen = buffer[..length].to_vec();
        ids.insert([seen[0], seen[1]]);
        outside.send_to(&elsewhere(&seen), proxy).await.unwrap();
        let (length, _) = client.recv_from(&mut buffer).await.unwrap();
        assert_eq!(Message::from_vec(&buffer[..length]).unwrap().metadata.id, 7, "the asker gets its own back");
    }
    assert!(ids.len() > 1, "{ids:?}");
}

/// A name server that asks itself, and where it is: at a port that was free a moment ago, and may be taken by now.
async fn bound_to_ask_itself(known: watch::Receiver<Option<Arc<NameTable>>>) -> (SocketAddr, NameServer) {
    for _ in 0..100 {
        let own = UdpSocket::bind(LOCAL).await.unwrap().local_addr().unwrap();
        if let Ok(server) = NameServer::bind(own, known.clone(), Upstream::new(vec![own])).await {
            return (own, server);
        }
    }
    panic!("no port is free for UDP and TCP")
}

/// Nothing waits for itself: were it so, this would take five seconds.
#[tokio::test]
async fn a_server_that_asks_itself_says_that_there_is_no_answer() {
    let (_tell, known) = watch::channel(Some(Arc::new(names())));
    let (own, server) = bound_to_ask_itself(known).await;
    tokio::spawn(server.run());
    let asked = Instant::now();
    assert_eq!(over_udp(own, "b.test.").await.metadata.response_code, ResponseCode::ServFail);
    assert!(asked.elapsed() < Duration::from_secs(5));
}

/// A resolver whose questions are captured: it asks whoever has asked it, each time by another message.
#[tokio::test]
async fn a_resolver_that_asks_back_makes_no_end_of_questions() {
    let resolver = Arc::new(UdpSocket::bind(LOCAL).await.unwrap());
    let server = asking(vec![resolver.local_addr().unwrap()]).await;
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, client) = resolver.recv_from(&mut buffer).await.unwrap();
            let (mut asked, resolver) = (Message::from_vec(&buffer[..length]).unwrap(), resolver.clone());
            let mut edns = Edns::new();
            edns.set_max_payload(u16::try_from(1000 + counted.fetch_add(1, Ordering::Relaxed)).unwrap());
            asked.set_edns(edns);
            tokio::spawn(async move {
                let socket = UdpSocket::bind(LOCAL).await.unwrap();
                socket.send_to(&asked.to_vec().unwrap(), server).await.unwrap();
                let mut buffer = [0; 512];
                let (length, _) = socket.recv_from(&mut buffer).await.unwrap();
                resolver.send_to(&buffer[..length], client).await.unwrap();
            });
        }
    });
    assert_eq!(over_udp(server, "b.test.").await.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(count.load(Ordering::Relaxed), 16);
}

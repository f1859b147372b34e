//! Whoever is not of the job, or stands between two nodes, changes nothing that is known of a rank.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::super::clock::Moment;
use super::super::memory::Memory;
use super::super::process::ProcessId;
use super::super::row::{Life, Member};
use super::super::stage::Stage;
use super::super::writer::Heartbeat;
use super::frame;
use super::hub::Hub;
use super::invitation::Invitation;
use super::seal::{Key, Meeting, Seal, Side};
use super::spoke::Spoke;
use super::words;

const PATIENCE: Duration = Duration::from_secs(20);

/// The heartbeat of `rank` of a world of two nodes of one rank each.
fn heartbeat(rank: usize) -> Heartbeat {
    let member = |node| Member { host: format!("host{node}"), node, process: ProcessId::own() };
    Heartbeat::start(Memory::private(2), rank, vec![member(0), member(1)]).unwrap()
}

/// A hub on the loopback, and the way to it.
fn hub(heartbeat: &Heartbeat, key: Key) -> (Hub, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (Hub::start(vec![listener], key, heartbeat.clone()).unwrap(), address)
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "timeout waiting until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn stage_of(heartbeat: &Heartbeat, rank: usize) -> Stage {
    heartbeat.rows(Moment::now())[rank].stage
}

fn is_alive(heartbeat: &Heartbeat, rank: usize) -> bool {
    heartbeat.rows(Moment::now())[rank].life == Life::Alive
}

/// News that would end a run whose ranks wait for each other: rank 1 has left.
fn lie() -> Vec<u8> {
    let liar = heartbeat(1);
    liar.finish();
    frame::encode(&liar.rows_of_node(1, Moment::now()), Some(1))
}

#[test]
fn strangers_are_counted_and_change_nothing() {
    let key = Key::fresh().unwrap();
    let own = heartbeat(0);
    let (hub, address) = hub(&own, key);
    let stranger = Key::fresh().unwrap();
    let meeting = Meeting { node: 1, caller: [1; 16], listener: [2; 16] };
    let greeting = words::greeting(meeting.node, &meeting.caller);
    let frame = words::sealed(&mut Seal::new(&stranger, &meeting, Side::Caller), &lie());
    let attempts = [
        b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n".to_vec(),
        [words::call(&stranger, &meeting), frame.clone()].concat(),
        [&greeting[..], &[0; 32], &frame].concat(),
        greeting[..20].to_vec(),
        // The exchange of an older version, with the secret in clear.
        [&b"dtrainH1"[..], &[7; 16], &1u32.to_le_bytes()].concat(),
    ];
    for (number, attempt) in attempts.iter().enumerate() {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(attempt).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // The listener hangs up.
        let _ = stream.read_to_end(&mut Vec::new());
        wait_until("it was counted", || hub.num_refused() == number as u64 + 1);
    }
    assert!(!is_alive(&own, 1), "nothing was heard of rank 1");
    assert_ne!(stage_of(&own, 1), Stage::Finished);
    assert_eq!(own.memory().speaker(), None);
    // A rank of the job is heard all the same.
    let other = heartbeat(1);
    let invitation = Invitation { key, addresses: vec![address] };
    let spoke = Spoke::start(invitation, 1, other.clone()).unwrap();
    wait_until("both have heard of each other", || is_alive(&own, 1) && is_alive(&other, 0));
    assert_eq!((hub.num_refused(), spoke.num_refused()), (attempts.len() as u64, 0));
}

/// What somebody between two nodes does to what the node of rank 1 says.
type Tamper = fn(&mut Vec<u8>, &mut Vec<u8>);

/// Passes bytes on both ways, frame after frame; from the second frame of the caller on, `tamper` may change it, knowing
/// the frame before. Later connections are passed on untouched.
fn middle(hub: SocketAddr, tamper: Tamper) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut tamper = Some(tamper);
        for caller in listener.incoming().map_while(Result::ok) {
            let Ok(there) = TcpStream::connect(hub) else { return };
            let own = tamper.take();
            let (mut from_hub, mut to_caller) = (there.try_clone().unwrap(), caller.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_hub, &mut to_caller);
                let _ = to_caller.shutdown(std::net::Shutdown::Both);
            });
            std::thread::spawn(move || {
                let _ = pass_on(&caller, &there, own);
                let _ = there.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    address
}

fn pass_on(mut from: &TcpStream, mut to: &TcpStream, tamper: Option<Tamper>) -> std::io::Result<()> {
    let mut hello = [0; 28 + 32];
    from.read_exact(&mut hello[..28])?;
    to.write_all(&hello[..28])?;
    from.read_exact(&mut hello[28..])?;
    to.write_all(&hello[28..])?;
    let mut before = Vec::new();
    loop {
        let mut len = [0; 4];
        from.read_exact(&mut len)?;
        let mut frame = vec![0; u32::from_le_bytes(len) as usize + 32];
        from.read_exact(&mut frame)?;
        let mut frame = [&len[..], &frame].concat();
        if let Some(tamper) = tamper.filter(|_| !before.is_empty()) {
            tamper(&mut frame, &mut before);
            to.write_all(&frame)?;
            // Whatever comes now, the listener has hung up.
            return Ok(());
        }
        to.write_all(&frame)?;
        before = frame;
    }
}

#[test]
fn what_is_changed_on_its_way_is_counted_and_changes_nothing() {
    let tampers: [(&str, Tamper); 5] = [
        ("forged stage of a rank", |frame, _| frame[4 + 4 + 4 + 4 + 1] = Stage::Finished.code()),
        ("forged contents under an old seal", |frame, _| {
            let lie = lie();
            *frame = [&(lie.len() as u32).to_le_bytes(), &lie[..], &frame[frame.len() - 32..]].concat();
        }),
        ("replayed", |frame, before| frame.clone_from(before)),
        ("truncated", |frame, _| frame.truncate(frame.len() - 1)),
        ("a length without end", |frame, _| frame[..4].fill(0xff)),
    ];
    for (what, tamper) in tampers {
        let key = Key::fresh().unwrap();
        let (own, other) = (heartbeat(0), heartbeat(1));
        let (hub, address) = hub(&own, key);
        let invitation = Invitation { key, addresses: vec![middle(address, tamper)] };
        let _spoke = Spoke::start(invitation, 1, other.clone()).unwrap();
        wait_until(what, || hub.num_refused() == 1);
        assert_eq!(own.memory().speaker(), None, "{what}");
        assert_ne!(stage_of(&own, 1), Stage::Finished, "{what}");
        // The node calls again, and is heard.
        let _stage = other.enter(Stage::Evaluating);
        wait_until(what, || stage_of(&own, 1) == Stage::Evaluating && is_alive(&own, 1));
        assert_eq!(hub.num_refused(), 1, "{what}");
    }
}

/// A listener that lies in wait at the address of rank 0.
#[test]
fn a_false_listener_is_counted_and_learns_no_secret() {
    let key = Key::fresh().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let other = heartbeat(1);
    let spoke = Spoke::start(Invitation { key, addresses: vec![address] }, 1, other.clone()).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut call = [0; 28];
    stream.read_exact(&mut call).unwrap();
    // Its own words, sent back as an answer.
    stream.write_all(&[&call[12..], &[0; 32]].concat()).unwrap();
    wait_until("it was counted", || spoke.num_refused() == 1);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "a false listener was told something");
    for part in key.bytes().windows(8) {
        assert!(!call.windows(8).any(|said| said == part), "the key was said in clear");
    }
    assert!(!is_alive(&other, 0));
}

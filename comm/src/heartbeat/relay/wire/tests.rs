use std::net::TcpListener;

use super::super::seal::fresh;
use super::super::words;
use super::*;

const SHORT: Duration = Duration::from_millis(300);
const KEY: Key = Key::new([7; 32]);

type Heard = Result<Vec<Vec<u8>>, WireError>;

/// What a listener with [`KEY`] makes of a caller, and the caller of it.
fn meet<T: Send>(
    caller: impl FnOnce(Wire<'_, TcpStream>) -> T + Send,
    listener: impl FnOnce(Wire<'_, TcpStream>) -> Heard,
) -> (T, Heard) {
    let ended = AtomicBool::new(false);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::scope(|scope| {
        let ended = &ended;
        let called = scope.spawn(move || {
            let stream = TcpStream::connect(address).unwrap();
            caller(Wire::over(stream, ended, SHORT, 100).unwrap())
        });
        let heard = listener(Wire::over(socket.accept().unwrap().0, ended, SHORT, 100).unwrap());
        (called.join().unwrap(), heard)
    })
}

/// Frames until the end of the connection, or why there is no further one.
fn welcome(wire: Wire<'_, TcpStream>) -> Heard {
    let (node, mut line) = wire.answer(&KEY, fresh().unwrap())?;
    assert_eq!(node, 3);
    let mut heard = Vec::new();
    loop {
        match line.receive() {
            Ok(frame) => heard.push(frame),
            Err(WireError::Closed) => return Ok(heard),
            Err(error) => return Err(error),
        }
    }
}

/// What a listener makes of the bytes that `sent` makes of two sealed frames, each of them with its length.
fn after_proof(sent: impl FnOnce([Vec<u8>; 2]) -> Vec<u8> + Send) -> Heard {
    let (_, heard) = meet(
        |wire| {
            let mut line = wire.call(&KEY, 3, fresh().unwrap()).unwrap();
            let mut sealed = |frame: &[u8]| words::sealed(&mut line.outgoing, frame);
            let frames = [sealed(b"first"), sealed(b"second")];
            let _ = line.wire.stream.write_all(&sent(frames));
        },
        welcome,
    );
    heard
}

#[test]
fn ranks_of_the_job_understand_each_other() {
    let (called, heard) = meet(
        |wire| {
            let mut line = wire.call(&KEY, 3, fresh().unwrap())?;
            line.send(b"news")?;
            line.send(b"")
        },
        welcome,
    );
    called.unwrap();
    assert_eq!(heard.unwrap(), [&b"news"[..], b""]);
    assert_eq!(after_proof(|frames| frames.concat()).unwrap(), [&b"first"[..], b"second"]);
}

#[test]
fn strangers_are_refused_on_both_sides() {
    let other = Key::new([8; 32]);
    let (called, heard) = meet(|wire| wire.call(&other, 3, Nonce::default()).err().unwrap(), welcome);
    assert!(matches!(called, WireError::Stranger), "{called}");
    assert!(heard.is_err());
    // One that ignores the listener's wrong proof, and one that has another one's proof.
    for proof in [[0; 32], Meeting { node: 3, caller: [1; 16], listener: [2; 16] }.proof(&KEY, Side::Caller)]
    {
        let (_, heard) = meet(
            |mut wire| {
                let call = [words::greeting(3, &[1; 16]), proof.to_vec()].concat();
                wire.stream.write_all(&call).unwrap();
            },
            welcome,
        );
        assert!(matches!(heard, Err(WireError::Stranger)), "{heard:?}");
    }
    let request = b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n";
    let (_, heard) = meet(|mut wire| wire.stream.write_all(request), welcome);
    assert!(matches!(heard, Err(WireError::Stranger)), "{heard:?}");
    let (_, heard) = meet(|mut wire| wire.stream.write_all(&GREETING), welcome);
    assert!(matches!(heard, Err(WireError::Stranger)), "{heard:?}");
}

/// Somebody in the middle sends a listener's words back to it as a caller's.
#[test]
fn a_reflected_proof_is_none() {
    let (_, heard) = meet(
        |mut wire| {
            wire.stream.write_all(&words::greeting(3, &[1; 16])).unwrap();
            let mut answer = [0; 48];
            wire.read(&mut answer, Instant::now() + SHORT).unwrap();
            wire.stream.write_all(&answer[16..]).unwrap();
        },
        welcome,
    );
    assert!(matches!(heard, Err(WireError::Stranger)), "{heard:?}");
}

/// All that was said on one connection, said again on another one.
#[test]
fn a_replayed_connection_proves_nothing() {
    let listener = [2; 16];
    let meeting = Meeting { node: 3, caller: [1; 16], listener };
    let mut seal = Seal::new(&KEY, &meeting, Side::Caller);
    let said = [words::call(&KEY, &meeting), words::sealed(&mut seal, b"news")].concat();
    let (_, heard) = meet(|mut wire| wire.stream.write_all(&said), welcome);
    assert!(matches!(heard, Err(WireError::Stranger)), "{heard:?}");
    // With the same number of the listener it would have been believed, so the number is what refuses it.
    let again = |wire: Wire<'_, TcpStream>| {
        let (_, mut line) = wire.answer(&KEY, listener)?;
        Ok(vec![line.receive()?])
    };
    let (_, heard) = meet(|mut wire| wire.stream.write_all(&said), again);
    assert_eq!(heard.unwrap(), [b"news"]);
}

#[test]
fn frames_that_are_not_the_next_one_are_refused() {
    let forged = after_proof(|[mut first, second]| {
        first[5] ^= 1;
        [first, second].concat()
    });
    assert!(matches!(forged, Err(WireError::Forged)), "{forged:?}");
    let replayed = after_proof(|[first, _]| [first.clone(), first].concat());
    assert!(matches!(replayed, Err(WireError::Forged)), "{replayed:?}");
    let reordered = after_proof(|[first, second]| [second, first].concat());
    assert!(matches!(reordered, Err(WireError::Forged)), "{reordered:?}");
    let held_back = after_proof(|[_, second]| second);
    assert!(matches!(held_back, Err(WireError::Forged)), "{held_back:?}");
    for len in [1, 4, 6, 9, 40] {
        let truncated = after_proof(|[first, _]| first[..len].to_vec());
        assert!(matches!(truncated, Err(WireError::Truncated)), "{len}: {truncated:?}");
    }
    // A shorter frame under the seal of the longer one.
    let shortened = after_proof(|[first, _]| [&2u32.to_le_bytes(), &first[4..6], &first[9..]].concat());
    assert!(matches!(shortened, Err(WireError::Forged)), "{shortened:?}");
}

/// A frame of the listener that is sent back to it.
#[test]
fn a_reflected_frame_is_refused() {
    let (_, heard) = meet(
        |wire| {
            let mut line = wire.call(&KEY, 3, fresh().unwrap()).unwrap();
            let mut frame = [0; 4 + 4 + 32];
            line.wire.read(&mut frame, Instant::now() + SHORT).unwrap();
            line.wire.stream.write_all(&frame).unwrap();
        },
        |wire| {
            let (_, mut line) = wire.answer(&KEY, fresh().unwrap())?;
            line.send(b"news")?;
            Ok(vec![line.receive()?])
        },
    );
    assert!(matches!(heard, Err(WireError::Forged)), "{heard:?}");
}

#[test]
fn a_caller_that_says_nothing_is_not_waited_for() {
    let (_, heard) = meet(
        |wire| {
            std::thread::sleep(SHORT * 2);
            drop(wire)
        },
        welcome,
    );
    assert!(matches!(heard, Err(WireError::Silent)), "{heard:?}");
}

/// Byte after byte, so that each single read succeeds.
#[test]
fn a_caller_that_says_little_is_not_waited_for() {
    let (_, heard) = meet(
        |mut wire| {
            for byte in GREETING {
                std::thread::sleep(SHORT / 4);
                let _ = wire.stream.write_all(&[byte]);
            }
        },
        welcome,
    );
    assert!(matches!(heard, Err(WireError::Silent)), "{heard:?}");
}

#[test]
fn a_length_from_outside_allocates_nothing() {
    let heard = after_proof(|_| u32::MAX.to_le_bytes().to_vec());
    assert!(matches!(heard, Err(WireError::TooLong(_))), "{heard:?}");
}

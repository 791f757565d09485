//! Order, bounds and waking of a shard's queue.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::AtomicUsize;

use super::*;

fn message(text: &'static str) -> Letter {
    let flow =
        Flow { listener: call::ListenerId(0), remote: "127.0.0.1:5060".parse().unwrap(), connection: 0 };
    Letter::Message { flow, bytes: Bytes::from_static(text.as_bytes()) }
}

fn texts(letters: VecDeque<Letter>) -> Vec<String> {
    letters
        .into_iter()
        .map(|letter| match letter {
            Letter::Message { bytes, .. } => String::from_utf8(bytes.to_vec()).unwrap(),
            other => format!("{other:?}"),
        })
        .collect()
}

fn taken(mailbox: &Mailbox) -> Vec<String> {
    let mut letters = VecDeque::new();
    mailbox.take(&mut letters);
    texts(letters)
}

#[test]
fn letters_are_taken_in_the_order_in_which_they_were_put_in() {
    let mailbox = Mailbox::new(10, 1000, Arc::default());
    mailbox.post(message("1")).unwrap();
    mailbox.post_all(&mut vec![message("2"), message("3")]);
    mailbox.post(message("4")).unwrap();
    assert_eq!(taken(&mailbox), ["1", "2", "3", "4"]);
    assert_eq!(mailbox.len(), 0);
}

#[test]
fn shards_that_share_a_call_have_room_of_their_own() {
    let inner = |text: &'static str, token| Letter::Inner {
        from: 1,
        bytes: Bytes::from_static(text.as_bytes()),
        token: SendToken(token),
    };
    let mailbox = Mailbox::new(2, 10, Arc::default());
    mailbox.post_all(&mut vec![message("1"), message("2")]);
    assert!(matches!(mailbox.post(message("3")), Err(Refused::Full(_))));
    let mut letters = vec![inner("4", 4), inner("5", 5), inner("6", 6)];
    mailbox.post_all(&mut letters);
    // What does not fit says who is to hear of it.
    assert!(matches!(letters[..], [Letter::Inner { token: SendToken(6), .. }]));
    let mut taken = VecDeque::new();
    mailbox.take(&mut taken);
    assert_eq!(taken.len(), 4);
    assert!(matches!(mailbox.post(inner("more than octets", 7)), Err(Refused::Full(_))));
    mailbox.post(inner("8", 8)).unwrap();
}

#[test]
fn a_full_queue_gives_messages_back_and_still_takes_answers() {
    let mailbox = Mailbox::new(2, 1000, Arc::default());
    let mut letters = vec![message("1"), message("2"), message("3"), message("4")];
    mailbox.post_all(&mut letters);
    assert_eq!(texts(letters.into()), ["3", "4"]);
    assert!(matches!(mailbox.post(message("5")), Err(Refused::Full(_))));
    mailbox.post(Letter::Undeliverable { token: SendToken(1) }).unwrap();
    assert_eq!(taken(&mailbox).len(), 3);
    mailbox.post(message("6")).unwrap();
}

#[test]
fn a_few_large_messages_fill_a_queue_too() {
    let mailbox = Mailbox::new(100, 6, Arc::default());
    mailbox.post(message("1234")).unwrap();
    assert!(matches!(mailbox.post(message("567")), Err(Refused::Full(_))));
    mailbox.post(message("56")).unwrap();
}

#[test]
fn a_shard_that_has_ended_takes_nothing() {
    let mailbox = Mailbox::new(10, 1000, Arc::default());
    mailbox.close();
    assert!(matches!(mailbox.post(message("1")), Err(Refused::Gone)));
}

#[test]
fn many_wakings_before_the_shard_runs_are_one() {
    struct Count(AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let wakers = Wakers::new(1);
    let wake = wakers.iter().next().unwrap();
    wake.register(&Waker::from(Arc::clone(&count)));

    let media = wakers.waker(0);
    media();
    wake.wake();
    media();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(wake.take() && wake.take_media());
    assert!(!wake.take() && !wake.take_media());
    wake.wake();
    assert_eq!(count.0.load(Ordering::Relaxed), 2);
    assert!(!wake.take_media());
}

//! Row S5: a re-INVITE that is taken back is taken back on the other leg, too, and never sent there again.
//!
//! Phones mark each of their re-INVITEs with a header that crosses, so that the wire shows which one is which.

use std::collections::BTreeSet;

use sip::{Message, Method, Time};

use super::dialogs::Dialog;
use super::{Key, Oracle, key};

/// The header in which a phone names its re-INVITE.
pub(crate) const MARK: &str = "X-Offer";

/// A re-INVITE of one call.
pub(super) type Offered = (usize, Vec<u8>);

/// Those that were taken back.
#[derive(Debug, Default)]
pub(super) struct TakenBack(BTreeSet<Offered>);

/// What a re-INVITE is called.
pub(super) fn mark(request: &Message<'_>) -> Option<Vec<u8>> {
    if request.method() != Method::Invite {
        return None;
    }
    request.other(MARK.as_bytes()).map(<[u8]>::to_vec)
}

impl Oracle {
    /// A CANCEL was handled: with 200 and 487 where its INVITE waited.
    pub(super) fn check_taken_back(&mut self, now: Time, branch: &[u8]) {
        let cancel = self.asked.get(&(branch.to_vec(), b"CANCEL".to_vec()));
        let Some(invite) = self.asked.get(&(branch.to_vec(), b"INVITE".to_vec())) else { return };
        let taken = cancel.and_then(|cancel| cancel.status()) == Some(200) && invite.status() == Some(487);
        let Some(offered) = invite.offered.clone().filter(|_| taken) else { return };
        self.taken_back.0.insert(offered.clone());
        let goes_on = self.sent.iter().find_map(|(key, sent)| {
            let is_it = sent.offered.as_ref() == Some(&offered) && sent.end.is_none();
            is_it.then(|| key.clone())
        });
        if let Some(key) = goes_on {
            self.check_cancels_too(now, &key);
        }
    }

    /// A provisional response was handled: what was to be taken back can be taken back now.
    pub(super) fn check_provisional(&mut self, now: Time, response: &Message<'_>) {
        let Some(key) = key(response) else { return };
        let offered = self.sent.get(&key).and_then(|sent| sent.offered.as_ref());
        if offered.is_some_and(|offered| self.taken_back.0.contains(offered)) {
            self.check_cancels_too(now, &key);
        }
    }

    fn check_cancels_too(&mut self, now: Time, key: &Key) {
        let Some(sent) = self.sent.get(key) else { return };
        let dialog = sent.dialog.as_ref().and_then(|id| self.dialogs.get(id));
        let is_over = dialog.and_then(Dialog::over_since).is_some();
        let waits =
            sent.provisional && sent.end.is_none() && sent.undelivered.is_none() && sent.cancelled.is_none();
        // What is given up after Timer C needs no CANCEL any more.
        let lives = now.since(sent.at) < std::time::Duration::from_secs(180);
        let call = sent.call;
        if waits && lives && !is_over && !self.abandoned {
            self.fail(call, "a re-INVITE was taken back, and the one on the other leg is not (row S5)");
        }
    }

    /// A re-INVITE leaves: not one that was taken back (rows C9 and S5).
    pub(super) fn check_offer_stands(&mut self, offered: &Offered) {
        if self.taken_back.0.contains(offered) {
            self.fail(Some(offered.0), "a re-INVITE leaves that was taken back (rows S5, C9)");
        }
    }
}

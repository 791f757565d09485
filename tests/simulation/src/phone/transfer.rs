//! A phone's part in transfers (RFC 3515, RFC 3891), written apart from the product's: it sends the other one on, to a
//! number or to somebody in another call, or takes somebody's place.

use std::time::Duration;

use sip::Time;

use super::client::Purpose;
use super::{Act, Phone, Role, Stage};
use crate::script::Stir;

impl Phone {
    /// Its dialog, as Replaces names it to the box.
    pub fn dialog_name(&self) -> Option<String> {
        let theirs = self.remote_tag.as_deref().filter(|_| self.stage == Stage::Confirmed)?;
        Some(format!("{};to-tag={theirs};from-tag={}", self.call_id, self.local_tag))
    }

    /// Sends the other one to the number that was called, or to the party opposite the one whose dialog has this name.
    pub(super) fn refer(&mut self, dialog: &str, leaves: Option<Duration>, now: Time) {
        if self.stage != Stage::Confirmed {
            return;
        }
        let mut target = self.number_called();
        if !dialog.is_empty() {
            let escaped = dialog.replace('@', "%40").replace(';', "%3B").replace('=', "%3D");
            target = format!("{target}?Replaces={escaped}");
        }
        self.send_with("REFER", Purpose::Refer { leaves }, &format!("Refer-To: <{target}>\r\n"), None, now);
    }

    /// [`refer`](Phone::refer), as the world wants it.
    pub(crate) fn transfer(&mut self, dialog: &str, leaves: Option<Duration>, now: Time) {
        self.refer(dialog, leaves, now);
        self.rearm();
    }

    /// Calls in the place of the one whose dialog has this name.
    pub(crate) fn take_place(&mut self, dialog: &str, early_only: bool, now: Time) {
        let only = if early_only { ";early-only" } else { "" };
        self.invite(&format!("Replaces: {dialog}{only}\r\n"), now);
        self.rearm();
    }

    /// Does this now, whatever its script says.
    pub(crate) fn stir(&mut self, stir: Stir, now: Time) {
        if self.dead {
            return;
        }
        match stir {
            Stir::Bye => self.hang_up(now),
            Stir::Offer(offer) => self.offer(offer, 19, now),
            Stir::Info => self.inform(now),
            Stir::Refer => self.refer("", None, now),
            Stir::Die => self.perform(Act::Die, now),
            // Others do that.
            Stir::Operator | Stir::Silence => {}
        }
        self.rearm();
    }

    /// The number that the call went to, at the box.
    fn number_called(&self) -> String {
        let called = match &self.role {
            Role::Caller { .. } => &self.remote,
            Role::Callee { .. } => &self.local,
        };
        let number = called.split("sip:").nth(1).and_then(|rest| rest.split('@').next()).unwrap_or_default();
        format!("sip:{number}@192.0.2.1")
    }
}

//! A decision with its reasons, for people.

use std::fmt;

use crate::decision::{Decision, Listener, Plan, Query, Step, Target, Verdict};
use crate::route::Fork;
use crate::snapshot::Snapshot;
use crate::trunk::TrunkId;

/// How a decision was reached, one sentence a step, and the decision. `Display` gives the text of
/// `drawbridge explain`.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// In the order in which things were looked at, the outcome last.
    pub steps: Vec<String>,
    /// The same that [`Snapshot::decide`] gives.
    pub decision: Decision,
}

impl Snapshot {
    /// [`decide`](Snapshot::decide), with every step said aloud.
    pub fn explain(&self, query: &Query<'_>) -> Explanation {
        let mut transcript = Transcript { snapshot: self, steps: vec![self.explain_source(query)] };
        let decision = self.decide_aloud(query, &mut transcript);
        let mut steps = transcript.steps;
        self.explain_outcome(&decision, &mut steps);
        Explanation { steps, decision }
    }

    fn explain_source(&self, query: &Query<'_>) -> String {
        let source = query.source;
        let owner = self.source_of(source);
        match (owner, query.trunk) {
            (None, None) => format!("Source {source} is no trunk's."),
            (Some((id, rule)), Some(asked)) if id == asked => {
                format!("Source {source} is trunk {}'s, by its source {rule}.", self.called_trunk(id))
            }
            // The question may be about a trunk that does not own the address, or about a user behind one that does.
            (owner, asked) => {
                let owner = match owner {
                    Some((id, rule)) => format!("trunk {}'s, by its source {rule}", self.called_trunk(id)),
                    None => "no trunk's".to_owned(),
                };
                let asked = match asked {
                    Some(id) => format!("trunk {}", self.called_trunk(id)),
                    None => "no trunk".to_owned(),
                };
                format!("Source {source} is {owner}; the question is asked for {asked}.")
            }
        }
    }

    fn explain_outcome(&self, decision: &Decision, steps: &mut Vec<String>) {
        match decision {
            Decision::Refuse(refusal) => {
                steps.push(format!("Refused with {}: {}.", refusal.status, refusal.why))
            }
            Decision::Route(plan) => {
                for (number, target) in plan.targets.iter().enumerate() {
                    let target = match target {
                        Target::User { name } => format!("the registered contacts of {name:?}"),
                        Target::Trunk { trunk, peer } => {
                            let peers = self.trunk(*trunk).map_or(&[][..], |trunk| &trunk.peers);
                            let uri = peers.get(*peer).map_or("?", String::as_str);
                            format!("{uri}, peer {} of trunk {}", peer + 1, self.called_trunk(*trunk))
                        }
                    };
                    steps.push(format!("Target {}: {target}.", number + 1));
                }
                let codes = Codes(&plan.failover);
                match (plan.fork, trunks_of(plan)) {
                    (Fork::Parallel, trunks @ 2..) => steps.push(format!(
                        "The {trunks} trunks are called at once, and the first that answers has the call; the next \
                         peer of a trunk is tried after {codes}."
                    )),
                    (Fork::Serial | Fork::Parallel, _) if plan.targets.len() > 1 => {
                        steps.push(format!("The next target is tried after {codes}."));
                    }
                    (Fork::Serial | Fork::Parallel, _) => {}
                }
            }
        }
    }

    fn called_trunk(&self, id: TrunkId) -> String {
        match self.trunk(id) {
            Some(trunk) => format!("{:?}", trunk.name),
            None => format!("number {} of another configuration", id.0),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        Ok(())
    }
}

/// How many trunks a plan names.
fn trunks_of(plan: &Plan) -> usize {
    let mut trunks: Vec<TrunkId> = plan
        .targets
        .iter()
        .filter_map(|target| match target {
            Target::Trunk { trunk, .. } => Some(*trunk),
            Target::User { .. } => None,
        })
        .collect();
    trunks.sort_unstable();
    trunks.dedup();
    trunks.len()
}

struct Transcript<'s> {
    snapshot: &'s Snapshot,
    steps: Vec<String>,
}

impl Listener for Transcript<'_> {
    fn hear(&mut self, step: Step<'_>) {
        self.steps.push(match step {
            Step::Called(called) => match called.name() {
                Some(name) => format!("Called name: {name:?}."),
                None => "Called name: none, the URI has no user part.".to_owned(),
            },
            Step::LocalUser(name) => {
                format!("User {name:?} may register here, so the call goes there and no route is asked.")
            }
            Step::Judged { route, verdict } => {
                let name = &route.name;
                let pattern = route.called.as_ref().map_or("", |pattern| pattern.as_str());
                match verdict {
                    Verdict::Takes if pattern.is_empty() => {
                        format!("Route {name:?} takes the call: any name.")
                    }
                    Verdict::Takes => format!("Route {name:?} takes the call: the name matches {pattern}"),
                    Verdict::OtherOrigin => {
                        let from = route.from.as_deref().unwrap_or_default();
                        let from: Vec<String> =
                            from.iter().map(|id| self.snapshot.called_trunk(*id)).collect();
                        format!(
                            "Route {name:?} is passed over: it is only for calls from {}.",
                            from.join(", ")
                        )
                    }
                    Verdict::NoName => {
                        format!("Route {name:?} is passed over: it wants a name like {pattern}")
                    }
                    Verdict::TooShort => {
                        let short = route.incomplete.as_ref().map_or("", |short| short.as_str());
                        format!("Route {name:?} wants more digits: the name is the beginning of one, {short}")
                    }
                    Verdict::OtherName => {
                        format!("Route {name:?} is passed over: the name does not match {pattern}")
                    }
                }
            }
        });
    }
}

/// Ascending codes with runs drawn together: `408, 480, 500-599`.
struct Codes<'a>(&'a [u16]);

impl fmt::Display for Codes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no response, only when a target cannot be reached");
        }
        let runs = self.0.chunk_by(|before, after| before.checked_add(1) == Some(*after));
        for (number, run) in runs.enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            match run {
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [one] => write!(f, "{comma}{one}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

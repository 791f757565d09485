//! Figures in the text format of Prometheus.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::Api;
use crate::control::{Figures, Kind, Sample};
use crate::problem::Problem;

/// How many of everything there are.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "box",
    responses(
        (status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn metrics(State(api): State<Api>) -> Result<impl IntoResponse, Problem> {
    let text = text(api.control.figures().await?);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

fn text(figures: Figures) -> String {
    let mut text = String::with_capacity(4096);
    let samples = samples(&figures);
    let mut last = "";
    for sample in samples.iter().chain(&figures.more) {
        // A family's lines stand together under one header.
        if sample.name != last {
            let kind = match sample.kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
            };
            let _ = writeln!(text, "# HELP {0} {1}\n# TYPE {0} {kind}", sample.name, sample.help);
            last = sample.name;
        }
        text.push_str(sample.name);
        for (index, (label, value)) in sample.labels.iter().enumerate() {
            let opening = if index == 0 { '{' } else { ',' };
            let _ = write!(text, "{opening}{label}=\"{}\"", escaped(value));
        }
        let closing = if sample.labels.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{closing} {}", sample.value);
    }
    text
}

fn samples(figures: &Figures) -> Vec<Sample> {
    let Figures {
        node,
        version,
        uptime,
        draining,
        stats,
        ports_in_use,
        connections,
        journal,
        postgres,
        lines,
        webhook,
        more: _,
    } = figures;
    let labels = vec![("node", node.clone()), ("version", (*version).to_owned())];
    let build =
        Sample { labels, ..gauge("drawbridge_build_info", "Name of the box and version of the program.", 1) };
    let mut samples = vec![
        build,
        gauge("drawbridge_uptime_seconds", "Time since the process started.", uptime.as_secs()),
        gauge("drawbridge_draining", "1 when no new calls are taken.", u64::from(*draining)),
        gauge("drawbridge_calls", "Calls not yet forgotten.", stats.calls),
        gauge("drawbridge_legs", "Legs of calls.", stats.legs),
        gauge("drawbridge_transactions", "Client and server transactions.", stats.transactions),
        gauge("drawbridge_timers", "Deadlines waiting.", stats.timers),
        gauge("drawbridge_queries", "Questions to routing, DNS and media not yet answered.", stats.queries),
        gauge("drawbridge_requests", "Requests outside calls on their way across.", stats.requests),
        gauge("drawbridge_subscriptions", "Subscriptions across the box.", stats.subscriptions),
        gauge("drawbridge_bindings", "Registered contacts.", stats.bindings),
        gauge("drawbridge_ports_in_use", "Media ports in use by calls.", *ports_in_use),
        gauge("drawbridge_connections", "Open stream connections.", *connections),
        counter("drawbridge_calls_started_total", "Calls begun.", stats.calls_started),
        counter("drawbridge_calls_answered_total", "Calls answered.", stats.calls_answered),
        counter("drawbridge_calls_ended_total", "Calls ended.", stats.calls_ended),
        counter("drawbridge_requests_received_total", "Requests, with retransmissions.", stats.requests_in),
        counter(
            "drawbridge_responses_received_total",
            "Responses, with retransmissions.",
            stats.responses_in,
        ),
        counter("drawbridge_messages_sent_total", "Requests and responses sent.", stats.messages_out),
        counter("drawbridge_retransmissions_total", "Messages sent again by a timer.", stats.retransmissions),
        counter("drawbridge_malformed_total", "Datagrams that are no SIP message.", stats.malformed),
        counter("drawbridge_one_way_total", "Sides of answered calls that were not heard.", stats.one_way),
        counter("drawbridge_refused_total", "Requests refused before they were calls.", stats.refused),
        gauge("drawbridge_cdr_journal_up", "1 when the last commit succeeded.", u64::from(journal.up)),
        gauge("drawbridge_cdr_pending", "Records not yet committed to the journal.", journal.pending),
        counter("drawbridge_cdr_committed_total", "Records committed to the journal.", journal.committed),
        counter("drawbridge_cdr_lost_total", "Records only the log has.", journal.lost),
    ];
    if let Some(postgres) = postgres {
        samples.extend([
            gauge("drawbridge_postgres_up", "1 when PostgreSQL is connected.", u64::from(postgres.up)),
            gauge(
                "drawbridge_postgres_behind",
                "Records that PostgreSQL does not have yet.",
                postgres.behind,
            ),
            counter("drawbridge_postgres_forwarded_total", "Records forwarded.", postgres.forwarded),
            gauge("drawbridge_postgres_refused", "Records that PostgreSQL refuses.", postgres.refused),
        ]);
    }
    if let Some(lines) = lines {
        samples.extend([
            gauge(
                "drawbridge_cdr_lines_up",
                "1 when the file of JSON lines takes records.",
                u64::from(lines.up),
            ),
            gauge("drawbridge_cdr_lines_behind", "Records that are not in the file yet.", lines.behind),
            counter("drawbridge_cdr_lines_written_total", "Records written to the file.", lines.forwarded),
        ]);
    }
    if let Some(webhook) = webhook {
        let up = u64::from(webhook.up);
        samples.extend([
            gauge("drawbridge_cdr_webhook_up", "1 when the webhook takes records.", up),
            gauge("drawbridge_cdr_webhook_behind", "Records that it does not have yet.", webhook.behind),
            counter("drawbridge_cdr_webhook_sent_total", "Records that it took.", webhook.forwarded),
            gauge("drawbridge_cdr_webhook_refused", "Records that it refuses.", webhook.refused),
        ]);
    }
    samples
}

fn gauge(name: &'static str, help: &'static str, value: u64) -> Sample {
    Sample { name, help, kind: Kind::Gauge, labels: Vec::new(), value: value as f64 }
}

fn counter(name: &'static str, help: &'static str, value: u64) -> Sample {
    Sample { kind: Kind::Counter, ..gauge(name, help, value) }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

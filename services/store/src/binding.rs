//! Registrations in the journal, so that phones can be called right after a restart.

use std::net::SocketAddr;

use call::{BindingChange, Flow, ListenerId, Utc};
use rusqlite::Connection;
use sqlx::{Row, SqlitePool};

use crate::cdr::clean;
use crate::error::Error;
use crate::writer::utc_now;

/// Keeps a binding, or drops it when it has ended.
pub(crate) fn save(
    connection: &Connection,
    change: &BindingChange,
    listeners: &[String],
    now: i64,
) -> rusqlite::Result<()> {
    if change.expires_at.0 <= now {
        let mut delete = connection.prepare_cached("DELETE FROM binding WHERE user = ? AND contact = ?")?;
        return delete.execute([&*change.user, &*change.contact]).map(|_| ());
    }
    let Some(listener) = listeners.get(usize::from(change.flow.listener.0)) else {
        tracing::warn!(user = %change.user, listener = change.flow.listener.0, "registration over an unknown listener");
        return Ok(());
    };
    let mut write = connection.prepare_cached(
        "INSERT INTO binding (user, contact, listener, remote, expires_at, call_id, cseq, q, user_agent)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (user, contact) DO UPDATE SET
             listener = excluded.listener, remote = excluded.remote, expires_at = excluded.expires_at,
             call_id = excluded.call_id, cseq = excluded.cseq, q = excluded.q, user_agent = excluded.user_agent",
    )?;
    write.execute((
        &*change.user,
        &*change.contact,
        listener,
        change.flow.remote.to_string(),
        change.expires_at.0,
        &*change.call_id,
        change.cseq,
        change.q,
        change.user_agent.as_deref().map(clean),
    ))?;
    Ok(())
}

/// Drops what has expired.
pub(crate) fn purge(connection: &Connection, now: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM binding WHERE expires_at <= ?", [now]).map(|_| ())
}

/// All that are live now and whose listener still exists.
pub(crate) async fn load(pool: &SqlitePool, listeners: &[String]) -> Result<Vec<BindingChange>, Error> {
    let rows = sqlx::query(
        "SELECT user, contact, listener, remote, expires_at, call_id, cseq, q, user_agent
         FROM binding WHERE expires_at > ? ORDER BY user, contact",
    )
    .bind(utc_now())
    .fetch_all(pool)
    .await?;
    let mut bindings = Vec::with_capacity(rows.len());
    for row in rows {
        let name: &str = row.try_get("listener")?;
        let Some(listener) = listeners.iter().position(|listener| listener == name) else {
            tracing::info!(listener = name, "a registration's listener is not configured any more");
            continue;
        };
        let remote: &str = row.try_get("remote")?;
        let remote: SocketAddr = remote
            .parse()
            .map_err(|_| Error::Column { column: "binding.remote", found: remote.to_owned() })?;
        let number = |column: &'static str| Ok::<i64, Error>(row.try_get(column)?);
        let out_of_range = |column, value: i64| Error::Column { column, found: value.to_string() };
        let (cseq, q) = (number("cseq")?, number("q")?);
        bindings.push(BindingChange {
            user: row.try_get("user")?,
            contact: row.try_get("contact")?,
            flow: Flow {
                listener: ListenerId(u16::try_from(listener).unwrap_or(u16::MAX)),
                remote,
                connection: 0,
            },
            expires_at: Utc(number("expires_at")?),
            call_id: row.try_get("call_id")?,
            cseq: u32::try_from(cseq).map_err(|_| out_of_range("binding.cseq", cseq))?,
            q: u16::try_from(q).map_err(|_| out_of_range("binding.q", q))?,
            user_agent: row.try_get("user_agent")?,
        });
    }
    Ok(bindings)
}

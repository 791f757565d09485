//! The message log of SIPp, read back: what really crossed the wire, for what a scenario cannot say.

/// Which way a message went, as SIPp sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// SIPp sent it.
    Sent,
    /// SIPp received it.
    Received,
}

/// One SIP message of the log.
#[derive(Clone, Debug)]
pub struct Message {
    /// Which way it went.
    pub direction: Direction,
    /// The message; the log has lost the difference between CR LF and LF.
    pub text: String,
}

impl Message {
    /// All messages of a log, in order.
    pub fn read(log: &str) -> Vec<Message> {
        let log = log.replace('\r', "");
        let mut messages = Vec::new();
        for block in log.split("\n----------------------------------------------- ") {
            let Some((title, text)) = block.split_once("\n\n") else { continue };
            let direction = match title {
                _ if title.contains("message received") => Direction::Received,
                _ if title.contains("message sent") => Direction::Sent,
                _ => continue,
            };
            messages.push(Message { direction, text: text.to_owned() });
        }
        messages
    }

    /// The method, or for a response its code: `INVITE`, `487`.
    pub fn kind(&self) -> &str {
        let first = self.text.lines().next().unwrap_or_default();
        let first = first.strip_prefix("SIP/2.0 ").unwrap_or(first);
        first.split(' ').next().unwrap_or_default()
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }

    /// All headers of this name, from the top.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let head = self.text.lines().take_while(|line| !line.is_empty());
        let fields = head.filter_map(|line| line.split_once(':'));
        fields
            .filter(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// A parameter of the first header of this name.
    pub fn parameter(&self, header: &str, parameter: &str) -> Option<&str> {
        let (_, parameters) = self.header(header)?.split_once(';')?;
        parameters
            .split(';')
            .filter_map(|part| part.split_once('='))
            .find(|(key, _)| *key == parameter)
            .map(|(_, v)| v)
    }

    /// The method of CSeq.
    pub fn method(&self) -> &str {
        self.header("CSeq").and_then(|value| value.split_whitespace().nth(1)).unwrap_or_default()
    }

    /// What follows the headers.
    pub fn body(&self) -> &str {
        self.text.split_once("\n\n").map_or("", |(_, body)| body)
    }
}

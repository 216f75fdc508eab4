//! What the status page says: devices, folders, numbers. No file names, no secrets.

use core::fmt::{Display, Formatter, Result, Write};
use dartsync_core::time::Duration;
use dartsync_core::tracker::Tracker;

const HEAD: &str = "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>\
<meta http-equiv=refresh content=5><style>body{font:1em sans-serif;margin:2em}\
td,th{text-align:left;padding:.2em 1.5em .2em 0}</style>";

/// Text within HTML.
struct Plain<'a>(&'a str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.0.chars().try_for_each(|c| match c {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c if c.is_control() => f.write_str("\u{fffd}"),
            c => f.write_char(c),
        })
    }
}

/// The whole page but what only the machine at hand can say, which comes behind it.
pub fn page(tracker: &Tracker<'_>, up: Duration, out: &mut dyn Write) -> Result {
    let about = Plain(tracker.about());
    let (minutes, seconds) = (up.0 / 60_000_000, up.0 / 1_000_000 % 60);
    write!(out, "{HEAD}<title>{about}</title><h1>{about}</h1>")?;
    write!(
        out,
        "<p>DartSync tracker, up {} d {} h {} min {seconds} s",
        minutes / 1440,
        minutes / 60 % 24,
        minutes % 60
    )?;
    let (online, roster) = (tracker.online(), tracker.roster());
    write!(out, "<table><tr><th>device<th>is<th>records it lacks")?;
    for (slot, device) in roster.devices() {
        let is = if online.has(slot) { "online" } else { "offline" };
        write!(out, "<tr><td>{}<td>{is}<td>{}", Plain(&device.name), tracker.lag(slot))?;
    }
    write!(out, "</table><table><tr><th>folder<th>devices<th>records")?;
    for (slot, folder) in roster.folders() {
        let records = tracker.table().folder_len(slot);
        write!(out, "<tr><td>{}<td>{}<td>{records}", Plain(&folder.label), folder.members.len())?;
    }
    let (usage, table) = (tracker.usage(), tracker.table());
    write!(
        out,
        "</table><p>{} records of about {} that fit, {} of them removals; {} KiB used of {}, {} KiB free",
        usage.entries,
        table.estimate_capacity(),
        table.tombstones(),
        usage.used >> 10,
        usage.total >> 10,
        usage.total.saturating_sub(usage.used) >> 10,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_text() {
        let text = Plain("<b onclick='x'>\"R&D\"</b>\n").to_string();
        assert_eq!(text, "&lt;b onclick=&#39;x&#39;&gt;&quot;R&amp;D&quot;&lt;/b&gt;\u{fffd}");
    }
}

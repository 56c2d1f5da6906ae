//! The report for people: what matters first, long lists cut short.

use std::fmt;

use super::report::{
    Check, Described, Duplicates, ImageName, Kind, Match, NearDuplicates, PartReport, Spread,
};

/// Entries of a list that are shown; JSON has them all.
const SHOWN: usize = 10;
/// Classes shown in full; of more, the largest and the smallest.
const CLASSES_SHOWN: usize = 20;

/// The table. Lists are cut after ten entries with how many more there are.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "", &self.data)?;
        if let Some(against) = &self.against {
            describe(f, "against ", against)?;
        }
        parts(f, &self.parts)?;
        classes(f, self)?;
        let broken = self.broken.iter().map(|broken| {
            let place = match (broken.in_against, broken.part) {
                (true, _) => "other set ",
                (false, Some(part)) => return format!("{part} {}: {}", broken.name, broken.reason),
                (false, None) => "",
            };
            format!("{place}{}: {}", broken.name, broken.reason)
        });
        list(f, "broken", self.broken.len(), broken)?;
        duplicates(f, &self.duplicates)?;
        near_duplicates(f, &self.near_duplicates)?;
        if !self.flat.is_empty() {
            let names = self.flat.iter().map(place);
            list(f, "flat, compared for equal pixels only", self.flat.len(), names)?;
        }
        matched(f, "leaked from an earlier part", &self.leakage)?;
        if self.against.is_some() {
            matched(f, "in the other data set too", &self.found_in_against)?;
        }
        matched(f, "the same but labelled differently", &self.conflicts)?;
        writeln!(f, "\n{}", verdict(self))
    }
}

fn describe(f: &mut fmt::Formatter<'_>, word: &str, data: &Described) -> fmt::Result {
    let Described { name, path, format, images, classes } = data;
    let (name, path) = (clean(name), clean(path));
    writeln!(f, "{word}{name} ({format}): {images} images, {classes} classes, in {path}")
}

fn parts(f: &mut fmt::Formatter<'_>, parts: &[PartReport]) -> fmt::Result {
    let head = ["part", "images", "broken", "unlabelled", "width", "height", "aspect", "sizes"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for part in parts {
        let mut row = vec![part.part.to_string()];
        row.extend([part.images, part.broken, part.unlabelled].map(|n| n.to_string()));
        row.extend(match &part.sizes {
            Some(sizes) => [
                spread(sizes.width, u32::to_string),
                spread(sizes.height, u32::to_string),
                spread(sizes.aspect, |aspect| format!("{aspect:.2}")),
                sizes.different.to_string(),
            ],
            None => ["–"; 4].map(str::to_owned),
        });
        rows.push(row);
    }
    writeln!(f)?;
    table(f, &rows)?;
    writeln!(f, "width, height and aspect (width / height): least, middle, greatest")?;
    for part in parts.iter().filter(|part| !part.modes.is_empty()) {
        let (modes, formats) = (kinds(&part.modes), kinds(&part.file_formats));
        writeln!(f, "{}: {formats}; pixels {modes}", part.part)?;
    }
    Ok(())
}

/// `3`, or `1 … 3 … 8`.
fn spread<T: PartialEq + Copy>(spread: Spread<T>, text: impl Fn(&T) -> String) -> String {
    let Spread { min, median, max } = spread;
    if min == max { text(&min) } else { [min, median, max].map(|value| text(&value)).join(" … ") }
}

fn kinds(kinds: &[Kind]) -> String {
    let kinds: Vec<String> =
        kinds.iter().map(|kind| format!("{} {}", kind.images, clean(&kind.name))).collect();
    kinds.join(", ")
}

fn classes(f: &mut fmt::Formatter<'_>, check: &Check) -> fmt::Result {
    let labelled = |part: &&PartReport| part.imbalance.is_some();
    if !check.parts.iter().any(|part| labelled(&part)) {
        return writeln!(f, "\nno labels");
    }
    let mut order: Vec<usize> = (0..check.classes.len()).collect();
    let total = |&class: &usize| check.classes[class].images.iter().sum::<usize>();
    if order.len() > CLASSES_SHOWN {
        order.sort_by_key(|class| std::cmp::Reverse(total(class)));
    }
    let hidden = order.len().saturating_sub(CLASSES_SHOWN);
    let mut rows = vec![vec!["class".to_owned()]];
    rows[0].extend(check.parts.iter().map(|part| part.part.to_string()));
    let cut = if hidden > 0 { CLASSES_SHOWN / 2 } else { order.len() };
    for (position, &class) in order.iter().enumerate() {
        if position == cut && hidden > 0 {
            rows.push(vec![format!("… {hidden} more …")]);
        }
        if position < cut || position >= cut + hidden {
            let mut row = vec![clean(&check.classes[class].name)];
            row.extend(check.classes[class].images.iter().map(usize::to_string));
            rows.push(row);
        }
    }
    writeln!(f)?;
    table(f, &rows)?;
    for part in check.parts.iter().filter(labelled) {
        let ratio = part.imbalance.unwrap_or_default();
        write!(f, "{}: largest class {ratio:.2} × the smallest", part.part)?;
        if !part.empty_classes.is_empty() {
            let names: Vec<String> = part.empty_classes.iter().map(|name| clean(name)).collect();
            write!(f, "; empty: {}", shortened(&names, ", "))?;
        }
        writeln!(f)?;
    }
    Ok(())
}

fn duplicates(f: &mut fmt::Formatter<'_>, groups: &[Duplicates]) -> fmt::Result {
    let lines = groups.iter().map(|group| {
        let names: Vec<String> = group.images.iter().map(place).collect();
        let bytes = if group.same_bytes { "" } else { " (pixels)" };
        format!("{}{bytes}", shortened(&names, " = "))
    });
    list(f, "groups of equal images", groups.len(), lines)
}

fn near_duplicates(f: &mut fmt::Formatter<'_>, groups: &[NearDuplicates]) -> fmt::Result {
    let lines = groups.iter().map(|group| {
        let names: Vec<String> = group
            .images
            .iter()
            .map(|near| format!("{} ({})", place(&near.image), near.distance))
            .collect();
        shortened(&names, " ≈ ")
    });
    list(f, "groups of near duplicates (bits to the nearest)", groups.len(), lines)
}

fn matched(f: &mut fmt::Formatter<'_>, title: &str, found: &[Match]) -> fmt::Result {
    let lines = found.iter().map(|found| {
        let label = |image: &ImageName| match &image.label {
            Some(label) => format!("{} [{}]", place(image), clean(label)),
            None => place(image),
        };
        let sign = match found.distance {
            None => "=".to_owned(),
            Some(bits) => format!("≈ ({bits})"),
        };
        format!("{} {sign} {}", label(&found.image), label(&found.same_as))
    });
    list(f, title, found.len(), lines)
}

fn list(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    count: usize,
    lines: impl Iterator<Item = String>,
) -> fmt::Result {
    writeln!(f, "\n{title}: {}", if count == 0 { "none".to_owned() } else { count.to_string() })?;
    for line in lines.take(SHOWN) {
        writeln!(f, "  {}", clean(&line))?;
    }
    if count > SHOWN { writeln!(f, "  and {} more", count - SHOWN) } else { Ok(()) }
}

/// At most six of `names`.
fn shortened(names: &[String], separator: &str) -> String {
    let shown = names.len().min(if names.len() == 7 { 7 } else { 6 });
    let text = names[..shown].join(separator);
    match names.len() - shown {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

fn place(image: &ImageName) -> String {
    format!("{} {}", image.part, image.name)
}

/// Without what would move the cursor or colour the screen: names come from strangers' archives.
fn clean(text: &str) -> String {
    let shown =
        |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

fn verdict(check: &Check) -> String {
    let matched = |found: &[Match], what| {
        let near = found.iter().filter(|found| found.distance.is_some()).count();
        let near = if near > 0 { format!(", {near} of them near only") } else { String::new() };
        (found.len(), format!("{} {what}{near}", found.len()))
    };
    let counts = [
        (check.broken.len(), format!("{} broken", check.broken.len())),
        matched(&check.leakage, "leaked"),
        matched(&check.found_in_against, "in the other data set"),
        matched(&check.conflicts, "labelled differently"),
    ];
    let found: Vec<String> =
        counts.into_iter().filter(|(n, _)| *n > 0).map(|(_, text)| text).collect();
    if found.is_empty() {
        "no problems".to_owned()
    } else {
        format!("problems: {}", found.join("; "))
    }
}

/// The first column to the left, the others to the right, two spaces between.
fn table(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            line += &match column {
                0 => format!("{cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            };
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

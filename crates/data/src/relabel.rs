//! Classes of a data set as those of a model: by WordNet id or by name.

use crate::ground_truth::stem;
use crate::{Listing, LookupError, Quarantined, Target, Vocabulary};

impl Vocabulary {
    /// The listing with its classes turned into those of this vocabulary, so that a model's outputs
    /// can be compared with them.
    ///
    /// A class is found by its id, else by its name; an unlabelled image by its file's name, as
    /// `tabby cat 3.jpg` or `n02123045_17.JPEG`. Images whose class is not found, or whose name
    /// may mean several, are set aside with the reason.
    ///
    /// # Examples
    /// ```
    /// use nearkin_data::{Listing, OpenOptions, Vocabulary};
    ///
    /// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/imagenet/by-lemma");
    /// let words = Vocabulary::parse("n02084071 dog\nn02123045 tabby, tabby cat\n")?;
    /// let photos = Listing::open(folder.as_ref(), &OpenOptions::default())?;
    /// let scored = words.label(photos);
    /// assert_eq!(scored.parts[0].classes(), Some(vec![0, 1, 1]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn label(&self, mut listing: Listing) -> Listing {
        let names =
            if listing.class_ids.is_empty() { &listing.class_names } else { &listing.class_ids };
        let classes: Vec<_> = names.iter().map(|name| self.find(name)).collect();
        let class = |class: usize| {
            classes.get(class).cloned().unwrap_or_else(|| {
                Err(LookupError::Unknown { name: class.to_string(), classes: self.len() })
            })
        };
        let all = |several: &[usize]| -> Result<Vec<usize>, LookupError> {
            let mut found = several.iter().map(|&one| class(one)).collect::<Result<Vec<_>, _>>()?;
            found.sort_unstable();
            Ok(found)
        };
        for part in &mut listing.parts {
            part.samples.retain_mut(|sample| {
                let target = match &sample.target {
                    Target::Class(one) => class(*one).map(Target::Class),
                    Target::Unlabelled => self.find_stem(stem(&sample.name)).map(Target::Class),
                    Target::Classes { present, difficult } => all(present).and_then(|present| {
                        Ok(Target::Classes { present, difficult: all(difficult)? })
                    }),
                };
                match target {
                    Ok(target) => {
                        sample.target = target;
                        true
                    }
                    Err(error) => {
                        let (name, reason) = (sample.name.clone(), error.to_string());
                        listing.quarantine.push(Quarantined { name, reason });
                        false
                    }
                }
            });
        }
        listing.class_names = self.names();
        listing.class_ids = self.wnids().unwrap_or_default();
        listing
    }
}

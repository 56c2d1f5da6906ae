//! Splitting listings: samples are moved between parts, no image is touched.

use crate::{
    Holdout, ListedPart, Listing, Split, SplitError, Target, draw_labels, draw_per_class,
    stratified_folds, stratified_split,
};

impl ListedPart {
    /// The class of every image, `[n]`.
    ///
    /// # Errors
    /// [`SplitError::NoClass`] names the first image with no or several classes.
    pub fn labels(&self) -> Result<Vec<usize>, SplitError> {
        let class = |sample: &crate::Sample| match sample.target {
            Target::Class(class) => Ok(class),
            _ => Err(SplitError::NoClass { name: sample.name.clone() }),
        };
        self.samples.iter().map(class).collect()
    }

    /// The images at `indices`, in that order, as a part with the role `split`.
    ///
    /// # Errors
    /// [`SplitError::Index`] for an index of n or more.
    pub fn select(&self, split: Split, indices: &[usize]) -> Result<Self, SplitError> {
        let at = |&found: &usize| {
            let images = self.samples.len();
            self.samples.get(found).cloned().ok_or(SplitError::Index { images, found })
        };
        Ok(Self { split, samples: indices.iter().map(at).collect::<Result<_, _>>()? })
    }

    /// Holds out the given share of every class: [`stratified_split`] of this part's labels.
    ///
    /// # Errors
    /// As [`ListedPart::labels`] and [`stratified_split`].
    pub fn stratified_split(&self, share: f64, seed: u64) -> Result<Holdout, SplitError> {
        stratified_split(&self.labels()?, share, seed)
    }

    /// Draws `count` images of every class: [`draw_per_class`] of this part's labels.
    ///
    /// # Errors
    /// As [`ListedPart::labels`] and [`draw_per_class`].
    pub fn draw_per_class(&self, count: usize, seed: u64) -> Result<Holdout, SplitError> {
        draw_per_class(&self.labels()?, count, seed)
    }

    /// Folds: [`stratified_folds`] of this part's labels.
    ///
    /// # Errors
    /// As [`ListedPart::labels`] and [`stratified_folds`].
    pub fn stratified_folds(&self, folds: usize, seed: u64) -> Result<Vec<Holdout>, SplitError> {
        stratified_folds(&self.labels()?, folds, seed)
    }

    /// Few labels, as the published tables draw them: [`draw_labels`] of this part's labels.
    ///
    /// # Errors
    /// As [`ListedPart::labels`] and [`draw_labels`].
    pub fn draw_labels(
        &self,
        classes: usize,
        count: usize,
        seed: u32,
    ) -> Result<Vec<usize>, SplitError> {
        draw_labels(&self.labels()?, classes, count, seed)
    }

    /// This part with the labels at `indices` only; all other images are unlabelled.
    ///
    /// # Errors
    /// [`SplitError::Index`] for an index of n or more.
    pub fn keep_labels(&self, indices: &[usize]) -> Result<Self, SplitError> {
        let images = self.samples.len();
        let mut keep = vec![false; images];
        for &found in indices {
            *keep.get_mut(found).ok_or(SplitError::Index { images, found })? = true;
        }
        let mut part = self.clone();
        let hidden = part.samples.iter_mut().zip(keep).filter(|(_, keep)| !keep);
        hidden.for_each(|(sample, _)| sample.target = Target::Unlabelled);
        Ok(part)
    }
}

impl Listing {
    /// This listing with its part `from` in two: what `holdout` keeps stays, the rest gets the role
    /// `into`. Both roles are replaced.
    ///
    /// # Errors
    /// [`SplitError::NoPart`] without such a part; [`SplitError::Index`] for an index beyond it;
    /// [`SplitError::SameRole`] if both roles are the same.
    pub fn hold_out(
        mut self,
        from: Split,
        into: Split,
        holdout: &Holdout,
    ) -> Result<Self, SplitError> {
        if from == into {
            return Err(SplitError::SameRole { split: from });
        }
        let part = self.part(from).ok_or(SplitError::NoPart { split: from })?;
        let parts = [part.select(from, &holdout.kept)?, part.select(into, &holdout.held_out)?];
        self.parts.retain(|part| part.split != from && part.split != into);
        self.parts.extend(parts);
        self.parts.sort_by_key(|part| part.split);
        Ok(self)
    }
}

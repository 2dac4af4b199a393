-- The Private Networks that a node could not attach, each with its refusal.
ALTER TABLE vpc_observed ADD COLUMN networks TEXT NOT NULL DEFAULT '{}';

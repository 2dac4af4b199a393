-- What a node said last of itself and its machine, from where its channel came, and when: one JSON document. NULL: nothing yet.
ALTER TABLE node ADD COLUMN contact TEXT;

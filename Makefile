# `make demo` shows the product, `make test` checks it. Both work from a clean clone on Debian 12 or newer.
.PHONY: demo test acceptance interop build fmt lint clean-labs

# SCENARIO=pair   another story than the first (`causeway lab demo --help` names them); KEEP=1   leave the lab running and print what to try
demo:
	@SCENARIO="$(SCENARIO)" KEEP="$(KEEP)" scripts/demo

test:
	@scripts/test

# What the product documents promise, row by row (docs/documents.md); ONLY=vpn-01 for one row, ONLY=vpn for a document.
acceptance:
	@scripts/acceptance $(ONLY)

# Every suite and group against strongSwan (docs/interop.md). Needs root.
interop:
	cargo test --locked -p causeway-ike --test strongswan -- --ignored --nocapture the_whole_matrix

build:
	cargo build --locked --workspace

fmt:
	cargo fmt --all

lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings

# Removes labs that were kept.
clean-labs:
	$${CARGO_TARGET_DIR:-target}/debug/causeway lab down

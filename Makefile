# Everything that a developer or CI runs. `make quickstart` needs nothing but Rust; `make test` Go 1.26,
# Python 3 and Node besides.

CARGO ?= cargo

.PHONY: quickstart test lint independent controlplane helm generate bench campaign fuzz clean

# A stream, an operator and a few thousand updates on this machine; ends by itself.
quickstart:
	$(CARGO) build --release --locked --bin activation-operator --package activation-operator
	$(CARGO) build --release --locked --package kinesis-stub
	examples/quickstart/run.sh target/release

# Everything, the quick ones first.
test: lint controlplane helm
	$(CARGO) test --locked --lib --bins --workspace
	$(CARGO) test --locked --workspace --test '*' -- --test-threads 2
	$(CARGO) build --locked --workspace --bins
	examples/quickstart/run.sh target/debug

lint: independent
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- --deny warnings

# What the tests need of others: kinesis-local from npm, moto and boto3 from PyPI.
independent:
	tests/independent/install.sh

# What the tests need of Kubernetes, built once: etcd, kube-apiserver, kube-controller-manager, kubectl.
controlplane:
	tests/controlplane/build.sh

# Helm, built once, for the tests of the chart.
helm:
	tests/chart/helm/build.sh

# What is generated and committed.
generate:
	$(CARGO) run --locked -- crd --dir crds
	UPDATE_CRDS=1 $(CARGO) test --locked --test chart the_definitions_of_the_chart
	UPDATE_DOCS=1 $(CARGO) test --locked --test conditions_docs --test metrics --test reference

# Figures and ratios, for docs/performance.md.
bench:
	$(CARGO) build --release --locked --package kinesis-stub
	$(CARGO) bench --locked --bench pipeline

# The longer forms of the tests that draw by chance. Writes the table of docs/delivery.md.
campaign:
	SEEDS=20000 $(CARGO) test --locked --lib sender
	KILLS=1000 $(CARGO) test --locked --test kills
	CUTS=2000 $(CARGO) test --locked --test power_cut
	FAULT_MINUTES=$${FAULT_MINUTES:-120} UPDATE_DOCS=1 $(CARGO) test --locked --test faults -- --test-threads 2

# Inputs of strangers, guided by coverage, SECONDS for each target; needs a C++ compiler.
fuzz: SECONDS ?= 60
fuzz:
	CARGO="$(CARGO)" fuzz/run.sh $(SECONDS)

clean:
	$(CARGO) clean
	rm -rf .cache

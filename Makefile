# make            build bin/mqtunnel
# make demo       run a whole project against a stand-in for Cloudflare, no account needed
# make demo-down  remove everything that make demo made
# make test       every test: unit, script, Engine and lab
# make lint       the linters, pinned in .ci/lint
# make prove      run the proofs; ONLY=NAME runs one, LIST=1 lists them
# make clean      remove what was built, the lab's images included
# make dist       binaries for all platforms with checksums, in dist/

.DELETE_ON_ERROR:
.PHONY: build demo demo-down test lint prove dist clean

BUILD := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w'
LAB   := CGO_ENABLED=0 go build -o bin/mqtunnel-lab ./cmd/mqtunnel-lab
PLATFORMS := linux-amd64 linux-arm64 linux-armv7 darwin-amd64 darwin-arm64 windows-amd64 windows-arm64

build:
	@$(BUILD) -o bin/mqtunnel ./cmd/mqtunnel

DEMO ?= demo
demo: build
	@$(LAB)
	@bin/mqtunnel-lab demo --name $(DEMO)

demo-down: build
	@$(LAB)
	@bin/mqtunnel-lab demo --name $(DEMO) --down

test: build
	@$(LAB)
	@bin/mqtunnel-lab images
	go test -timeout 14m $(TESTFLAGS) ./...

lint: bin/golangci-lint
	bin/golangci-lint run -c .ci/lint/golangci.yml --allow-parallel-runners ./...
	@bin/golangci-lint fmt -c .ci/lint/golangci.yml --diff ./cmd ./internal ./compose

bin/golangci-lint: .ci/lint/go.mod
	cd .ci/lint && go build -o ../../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# The real Docker Compose, pinned in .ci/compose, for the proofs that it takes part in.
bin/docker-compose: .ci/compose/go.mod
	cd .ci/compose && go build -o ../../bin/docker-compose github.com/docker/compose/v5/cmd

prove: build bin/docker-compose
	@$(LAB)
	@bin/mqtunnel-lab prove $(if $(LIST),--list) $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

dist: $(PLATFORMS:%=dist/%)
	cd dist && sha256sum mqtunnel-* > SHA256SUMS

dist/%:
	@set -e; p=$*; os=$${p%%-*}; arch=$${p#*-}; arm=; ext=; out=$$p; \
	case $$arch in armv7) arch=arm arm=7;; esac; \
	case $$os in windows) ext=.exe;; esac; \
	GOOS=$$os GOARCH=$$arch GOARM=$$arm $(BUILD) -o dist/mqtunnel-$$out$$ext ./cmd/mqtunnel; \
	echo dist/mqtunnel-$$out$$ext

# What builds are made of again: the binaries, the lab's images and their packages.
clean:
	rm -rf bin dist .lab/bin .lab/cache
	docker image ls --quiet --filter reference='mqtunnel-lab/*' | sort -u | xargs -r docker image rm --force

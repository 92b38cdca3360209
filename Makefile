# The front door: one line a target. `make` builds; ./bootstrap installs what a fresh machine lacks.
# make JOBS=4 ..., make fuzz T=json S=60, make install PREFIX=/usr/local DESTDIR=
# make study STUDY='--total 600 --parts ab', make bench BENCH='-m a.gguf -m b.gguf'
JOBS ?= 2
PREFIX ?= /usr/local
S ?= 60
configured = [ -f $(1)/Makefile ] || cmake --preset $(2) >/dev/null
compile = { $(call configured,$(1),$(2)); } && cmake --build $(1) -j $(JOBS)
# make torture SAN=address,undefined (or thread): a build of our own code under that sanitizer, with libllama as it is.
REQUESTS ?= 2000
SECONDS ?= 300
torture_folder = build$(if $(SAN),-torture)
tortured = { [ -z '$(SAN)' ] || cmake -S . -B $(torture_folder) -DPACKLLM_SANITIZE='$(SAN)' >/dev/null; } && $(call compile,$(torture_folder),build)
check = ctest --test-dir $(1) --output-on-failure --no-tests=error

.PHONY: build demo quick test asan tsan msan clang fuzz torture tidy format coverage bench golden study study-full install clean help

build:    ; @$(call compile,build,build)
demo:     ; @./bootstrap demo
test:     ; @./bootstrap test
quick:    ; @$(call compile,build-quick,quick) && $(call check,build-quick) -L '^(unit|property|fuzz)$$'
asan:     ; @$(call compile,build-asan,asan) && $(call check,build-asan) -L '^(unit|property|fuzz)$$'
tsan:     ; @$(call compile,build-tsan,tsan) && $(call check,build-tsan) -L '^(unit|property)$$'
msan:     ; @$(call compile,build-msan,msan) && $(call check,build-msan) -L '^(unit|property|fuzz)$$'
clang:    ; @$(call compile,build-clang,clang) && $(call check,build-clang) -L '^(unit|property|fuzz)$$'
fuzz:     ; @$(call compile,build-fuzz,fuzz) && sh tools/fuzz.sh build-fuzz '$(T)' $(S)
torture:  ; @$(tortured) && TORTURE_SAN='$(SAN)' TORTURE_REQUESTS=$(REQUESTS) TORTURE_SECONDS=$(SECONDS) $(call check,$(torture_folder)) -L '^torture$$' --verbose
golden:   build ; @$(call check,build) -R golden
bench:    build ; @build/packllm bench $(BENCH)
tidy:     ; @{ $(call configured,build-clang,clang); } && sh tools/tidy.sh build-clang
format:   ; @git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format -i
study:    build ; @python3 tools/study.py $(STUDY)
study-full: build ; @python3 tools/study.py --full $(STUDY)
coverage: ; @$(call compile,build-coverage,coverage) && { $(call check,build-coverage) -L '^(unit|property|fuzz)$$' >/dev/null; sh tools/coverage.sh build-coverage; }
install:  build ; @DESTDIR='$(DESTDIR)' cmake --install build --prefix '$(PREFIX)'
clean:    ; @rm -rf build build-quick build-asan build-tsan build-msan build-clang build-fuzz build-coverage build-torture
help:     ; @sed -n 's/^\([a-z-]*\):.*/make \1/p' Makefile

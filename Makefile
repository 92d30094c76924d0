# Builds, tests and installs confmesh. `make help` lists the targets.
#
# Sources are found by wildcard: a new file needs no change here. A build
# first makes sure that the Debian packages it needs are there
# (tests/install-packages), then asks pkg-config once and keeps the answer.
#
#   V=1                          show commands
#   DEBUG=1                      no optimisation
#   WERROR=0|1                   warnings as errors; 1 in a git checkout
#   SANITIZE=address,undefined   or thread: a build directory of its own
#   STATIC=1                     as `make static` builds: build/static
#   BUG=NAME|quick SHRINK=1      of `make zoo`
#   ONLY='word word'             of `make test`: programs with one in the name
#   SEEDS=N                      of `make test` and `make sim`: simulated runs
#   BUDGET=seconds               of `make nightly`
#   QUICK=1                      of `make model`: under a minute
#   FUZZ_SECONDS=N               of `make fuzz`: for each target
#   KEEP=1                       of `make demo`: leave the mesh running
#   PREFIX=, DESTDIR=            of `make install`

SHELL := /bin/bash
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

comma := ,
empty :=
space := $(empty) $(empty)

PREFIX ?= /usr/local
DESTDIR ?=
V ?= 0
DEBUG ?= 0
SANITIZE ?=
STATIC ?=
WERROR ?= $(if $(wildcard .git),1,0)
FUZZ_SECONDS ?= 20
MARKS ?=
ONLY ?=
KEEP ?=
SEEDS ?= $(if $(SANITIZE),10,200)
BUDGET ?= 3600

# Where things go. Sanitized builds, whose warnings gcc itself calls
# unreliable, stay apart from the ordinary one.
ifneq ($(STATIC),)
BUILD := build/static
else ifeq ($(SANITIZE),)
BUILD := build
else
BUILD := build/san-$(subst $(comma),-,$(SANITIZE))
override WERROR := 0
endif

ifeq ($(V),0)
Q := @
say = @printf '  %-7s %s\n' '$(1)' '$(2)';
else
Q :=
say =
endif

.PHONY: all test sim model nightly demo bench fuzz lint format install clean deps
.PHONY: help examples test-programs bench-programs libs fuzz-seeds FORCE
.PHONY: static test-static
all:

# ---- What the machine has to have ------------------------------------------

# Every core, unless -j says otherwise; one after the other where two goals
# would talk, or delete, at the same time.
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(or $(shell nproc 2>/dev/null),1)
endif
ifneq ($(word 2,$(filter clean test demo bench fuzz lint format install, \
    $(MAKECMDGOALS)))$(if $(filter clean,$(MAKECMDGOALS)),$(word 2, \
    $(MAKECMDGOALS))),)
.NOTPARALLEL:
endif

GOALS := $(or $(MAKECMDGOALS),all)
groups_of = $(if $(filter-out clean help format,$(1)),build) \
    $(if $(filter test test-programs demo bench bench-programs \
        zoo zoo-shrink,$(1)),tests) \
    $(if $(filter $(BUILD)/tests/%,$(1)),tests) \
    $(if $(filter lint format,$(1)),lint) \
    $(if $(filter bench bench-programs,$(1)),bench) \
    $(if $(filter fuzz build/fuzz/%,$(1)),fuzz) \
    $(if $(STATIC)$(filter static test-static,$(1)),static) \
    $(if $(filter test-static,$(1)),tests) \
    $(if $(filter model,$(1)),model) \
    $(if $(filter deps,$(1)),build tests lint bench fuzz model static)
GROUPS := $(sort $(foreach goal,$(GOALS),$(call groups_of,$(goal))))
ifneq ($(GROUPS),)
PACKAGES := build/packages/$(subst $(space),-,$(GROUPS)).mk

# A makefile that make itself makes: when it is older than the lists or than
# dpkg's own record, packages are checked, and make starts again with it.
$(PACKAGES): tests/install-packages \
    $(foreach group,$(GROUPS),tests/packages/$(group).list) \
    $(wildcard /var/lib/dpkg/status)
	$(Q)mkdir -p $(@D)
	$(Q)tests/install-packages $(GROUPS)
	$(Q)printf '%s := %s\n' \
	    DEPS_CFLAGS "$$(pkg-config --cflags $(PC_ALL))" \
	    LIBS "$$(pkg-config --libs $(PC_ALL))" \
	    LIBS_CLI "$$(pkg-config --libs $(PC_ALL) inih)" \
	    LIBS_RESTORE "$$(pkg-config --libs $(PC_RESTORE))" > $@

include $(PACKAGES)
endif

PC_RESTORE := libsodium lmdb msgpack libzstd libcurl
PC_ALL := $(PC_RESTORE) libuv libmicrohttpd jansson

# ---- Flags -----------------------------------------------------------------

CC := gcc
CLANG := clang
WARNINGS := -Wall -Wextra -Wconversion -Wmissing-prototypes \
    -Wstrict-prototypes -Wshadow
# A static program has to be small: no function that nobody calls, and no text
# of what is checked.
OPTIMISE := $(if $(filter 1,$(DEBUG)),-O0,$(if $(STATIC),-Os \
    -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables \
    -DCM_CHECK_BRIEF,-O2))
CFLAGS ?= $(OPTIMISE) -g -fstack-protector-strong
SANITIZE_FLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) \
    -fno-sanitize-recover=all -fno-omit-frame-pointer)
CM_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARNINGS) \
    $(if $(filter 1,$(WERROR)),-Werror) $(if $(MARKS),-DCM_MARKS) -I. \
    -pthread $(DEPS_CFLAGS)
ALL_CFLAGS = $(CM_CFLAGS) $(CFLAGS) $(SANITIZE_FLAGS)
ALL_LDFLAGS = -pthread $(CFLAGS) $(SANITIZE_FLAGS) $(LDFLAGS)

# ---- Sources ---------------------------------------------------------------

CRDT_SRC := $(wildcard crdt/*.c crdt/base/*.c)
GOSSIP_SRC := $(wildcard gossip/*.c)
BACKUP_SRC := $(wildcard backup/*.c)
NODE_SRC := $(wildcard node/*.c)
CLI_SRC := $(wildcard node/cli/*.c)
RESTORE_SRC := $(wildcard node/restore/*.c)
SIM_SRC := $(wildcard sim/*.c)
SIM_CLI_SRC := $(wildcard sim/cli/*.c)
UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_SUPPORT_SRC := $(wildcard tests/unit/support*.c)
# What the integration tests run beside the product.
HELPER_SRC := $(wildcard tests/integration/*.c)
SIM_TEST_SRC := $(wildcard tests/sim/test_*.c)
SIM_SUPPORT_SRC := $(wildcard tests/sim/support*.c)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_SUPPORT_SRC := $(wildcard tests/fuzz/support*.c)
BENCH_SUPPORT_SRC := $(wildcard tests/bench/support*.c)
BENCH_SRC := $(filter-out $(BENCH_SUPPORT_SRC),$(wildcard tests/bench/*.c))
EXAMPLE_SRC := $(wildcard docs/examples/*.c)

LIB_SRC := $(CRDT_SRC) $(GOSSIP_SRC) $(BACKUP_SRC) $(NODE_SRC)
C_SRC := $(LIB_SRC) $(CLI_SRC) $(RESTORE_SRC) $(SIM_SRC) $(SIM_CLI_SRC) \
    $(UNIT_SRC) \
    $(UNIT_SUPPORT_SRC) $(HELPER_SRC) $(SIM_TEST_SRC) $(SIM_SUPPORT_SRC) \
    $(BENCH_SRC) $(BENCH_SUPPORT_SRC)
objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

# A program is built once its folder has a main function.
has_main = $(if $(1),$(shell grep -lE '^int main\b' $(1)))
PROGRAMS := $(if $(call has_main,$(CLI_SRC)),$(BUILD)/confmesh) \
    $(if $(call has_main,$(RESTORE_SRC)),$(BUILD)/confmesh-restore)
LIBS_OUT := $(addprefix $(BUILD)/lib,crdt.a gossip.a backup.a confmesh.a cli.a) \
    $(if $(SIM_SRC),$(BUILD)/libsim.a)
UNIT_PROGRAMS := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/tests/%)
HELPER_PROGRAMS := $(HELPER_SRC:tests/integration/%.c=$(BUILD)/helpers/%)
SIM_PROGRAMS := $(SIM_TEST_SRC:tests/sim/%.c=$(BUILD)/tests/sim/%)
BENCH_PROGRAMS := $(BENCH_SRC:tests/bench/%.c=$(BUILD)/bench/%)
EXAMPLES := $(EXAMPLE_SRC:docs/examples/%.c=$(BUILD)/examples/%)

SIM_PROGRAM := $(if $(SIM_CLI_SRC),$(BUILD)/confmesh-sim)

all: libs $(PROGRAMS) $(SIM_PROGRAM)
libs: $(LIBS_OUT)
examples: $(EXAMPLES)
test-programs: $(UNIT_PROGRAMS) $(SIM_PROGRAMS) $(HELPER_PROGRAMS)

# ---- Compile ---------------------------------------------------------------

# Files that change only when what they say does: flags, and lists of sources
# (an archive has to lose the object of a deleted source).
$(BUILD)/flags: CONTENT = $(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(LIBS)
$(BUILD)/sources: CONTENT = $(C_SRC)
$(BUILD)/flags $(BUILD)/sources: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(CONTENT)' | cmp -s - $@ || \
	    printf '%s\n' '$(CONTENT)' > $@

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

define archive
$(call say,AR,$@)rm -f $@ && ar rcsD $@ $(filter %.o,$^)
endef

$(BUILD)/libcrdt.a: $(call objects,$(CRDT_SRC)) $(BUILD)/sources
	$(archive)
$(BUILD)/libgossip.a: $(call objects,$(GOSSIP_SRC)) $(BUILD)/sources
	$(archive)
$(BUILD)/libbackup.a: $(call objects,$(BACKUP_SRC)) $(BUILD)/sources
	$(archive)
$(BUILD)/libconfmesh.a: $(call objects,$(LIB_SRC)) $(BUILD)/sources
	$(archive)
# What the command line has beyond the library, for its tests.
$(BUILD)/libcli.a: $(call objects,$(CLI_SRC)) $(BUILD)/sources
	$(archive)
# The operator of a simulated mesh chooses and joins by confmesh-restore's code.
SIM_RESTORE_SRC := node/restore/restore_choose.c node/restore/restore_gather.c
$(BUILD)/libsim.a: $(call objects,$(SIM_SRC) $(SIM_RESTORE_SRC)) \
    $(BUILD)/sources
	$(archive)

# ---- Link ------------------------------------------------------------------

LINK = $(CC) $(ALL_LDFLAGS) -o $@

# Debian's archives, but for four libraries, which are built from its sources
# (tests/static/libraries). The linker's warnings are about names of users,
# which nobody asks for, and of hosts, which resolv.conf alone finds.
ifneq ($(STATIC),)
STATIC_DEPS := $(BUILD)/deps/lib/versions
$(STATIC_DEPS): tests/static/libraries
	$(Q)$< $(BUILD)/deps
override ALL_LDFLAGS += -static -s -Wl,--gc-sections,--no-warnings -L$(BUILD)/deps/lib
STATIC_TLS := -lmbedtls -lmbedx509 -lmbedcrypto
override LIBS := $(subst -luv,-l:libuv_a.a,$(LIBS)) $(STATIC_TLS)
override LIBS_CLI := $(subst -luv,-l:libuv_a.a,$(LIBS_CLI)) $(STATIC_TLS)
override LIBS_RESTORE := $(LIBS_RESTORE) $(STATIC_TLS)
$(PROGRAMS): $(STATIC_DEPS)
endif

$(BUILD)/confmesh: $(call objects,$(CLI_SRC)) $(BUILD)/libconfmesh.a
	$(call say,LINK,$@)$(LINK) $(filter %.o %.a,$^) $(LIBS_CLI)

# No server code on the bare host: its libraries are not even offered.
$(BUILD)/confmesh-restore: $(call objects,$(RESTORE_SRC)) \
    $(BUILD)/libconfmesh.a
	$(call say,LINK,$@)$(LINK) $(filter %.o %.a,$^) $(LIBS_RESTORE)

$(UNIT_PROGRAMS): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o \
    $(call objects,$(UNIT_SUPPORT_SRC)) $(BUILD)/libcli.a \
    $(BUILD)/libconfmesh.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(LINK) $(filter %.o %.a,$^) $(LIBS_CLI) -lcmocka

$(HELPER_PROGRAMS): $(BUILD)/helpers/%: $(BUILD)/obj/tests/integration/%.o \
    $(BUILD)/libconfmesh.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(LINK) $(filter %.o %.a,$^) $(LIBS)

# LMDB comes in statically here, so that its system calls can be wrapped.
WRAP_FLAGS = $(if $(wildcard sim/wrap.flags),$(shell cat sim/wrap.flags))
$(SIM_PROGRAMS): $(BUILD)/tests/sim/%: $(BUILD)/obj/tests/sim/%.o \
    $(call objects,$(SIM_SUPPORT_SRC) $(UNIT_SUPPORT_SRC)) \
    $(BUILD)/libsim.a $(BUILD)/libconfmesh.a $(wildcard sim/wrap.flags)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(LINK) $(WRAP_FLAGS) $(filter %.o,$^) \
	    -Wl,--start-group $(filter %.a,$^) -l:liblmdb.a -Wl,--end-group \
	    $(filter-out -llmdb,$(LIBS)) -lcmocka

$(BUILD)/confmesh-sim: $(call objects,$(SIM_CLI_SRC)) $(BUILD)/libsim.a \
    $(BUILD)/libconfmesh.a $(wildcard sim/wrap.flags)
	$(call say,LINK,$@)$(LINK) $(WRAP_FLAGS) $(filter %.o,$^) \
	    -Wl,--start-group $(filter %.a,$^) -l:liblmdb.a -Wl,--end-group \
	    $(filter-out -llmdb,$(LIBS))

$(BENCH_PROGRAMS): $(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o \
    $(call objects,$(BENCH_SUPPORT_SRC)) $(BUILD)/libconfmesh.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(LINK) $(filter %.o %.a,$^) $(LIBS)

# Examples are outsiders: they see the installed header and the library.
$(BUILD)/include/confmesh.h: node/confmesh.h
	@mkdir -p $(@D)
	$(Q)cp $< $@

$(EXAMPLES): $(BUILD)/examples/%: docs/examples/%.c $(BUILD)/libconfmesh.a \
    $(BUILD)/include/confmesh.h $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(filter-out -I.,$(ALL_CFLAGS)) \
	    -I$(BUILD)/include -o $@ $< $(BUILD)/libconfmesh.a $(LIBS)

# ---- Test, demo, bench -----------------------------------------------------

# What sanitizers do with a finding: stop, with a stack.
export ASAN_OPTIONS ?= detect_leaks=1:strict_string_checks=1
export UBSAN_OPTIONS ?= print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS ?= halt_on_error=1:second_deadlock_stack=1
export LSAN_OPTIONS ?= print_suppressions=0
RUN_ENV = BUILD_DIR='$(abspath $(BUILD))' SANITIZE='$(SANITIZE)'

test: all test-programs examples
	$(Q)$(RUN_ENV) SEEDS='$(SEEDS)' tests/run $(ONLY)

# Every seed twice, the second time in another heap and environment.
sim: $(SIM_PROGRAM)
	$(Q)$(SIM_PROGRAM) run --seeds $(SEEDS) --twice

# Seeds that nobody has seen, until the time is over: half of it with whatever
# a seed draws, the rest with each other profile in turn.
NIGHTLY := full storage network churn membership waits calm quiet
nightly: $(SIM_PROGRAM)
	$(Q)set -e; first=$$(date +%s)00000; \
	$(SIM_PROGRAM) run --seconds $$(($(BUDGET) / 2)) --first-seed $$first \
	    --twice; \
	for profile in $(NIGHTLY); do \
	    $(SIM_PROGRAM) run --profile $$profile --first-seed $$first \
	        --seconds $$(($(BUDGET) / 2 / $(words $(NIGHTLY)) + 1)); \
	done
	$(Q)$(MAKE) SANITIZE=address,undefined test
	$(Q)$(MAKE) marks
	$(Q)$(MAKE) zoo

# One verifier at a time; sim/models/runs says which.
QUICK ?=
model:
	$(Q)$(RUN_ENV) tests/models $(if $(QUICK),--quick)

static:
	$(Q)$(MAKE) STATIC=1 build/static/confmesh build/static/confmesh-restore
	$(Q)stat -c '%n: %s bytes' build/static/confmesh \
	    build/static/confmesh-restore

# Real nodes of the static programs, and what only they promise.
STATIC_TESTS := test_cli.py test_mesh.py test_join.py test_durability.py \
    test_restore.py test_s3.py test_watch.py
test-static: static
	$(Q)BUILD_DIR='$(abspath build/static)' tests/static/test_static.py
	$(Q)BUILD_DIR='$(abspath build/static)' tests/run $(STATIC_TESTS)

demo: all examples
	$(Q)$(RUN_ENV) KEEP='$(KEEP)' tests/demo

# What tests/bench/run needs, for running parts of it by hand.
bench-programs: all $(BENCH_PROGRAMS)

bench: bench-programs
	$(Q)$(RUN_ENV) tests/bench/run

# ---- Fuzz ------------------------------------------------------------------

# The whole tree once more with clang: libFuzzer needs its instrumentation.
FUZZ := build/fuzz
FUZZ_CFLAGS = $(filter-out -Werror,$(CM_CFLAGS)) -O1 -g -w \
    -fno-omit-frame-pointer -fno-sanitize-recover=all
FUZZ_PROGRAMS := $(FUZZ_SRC:tests/fuzz/%.c=$(FUZZ)/%)
FUZZ_OBJ := $(patsubst %.c,$(FUZZ)/obj/%.o,$(LIB_SRC) $(FUZZ_SUPPORT_SRC))
FUZZ_RUNS := $(FUZZ_SRC:tests/fuzz/fuzz_%.c=fuzz-run-%)
.PHONY: $(FUZZ_RUNS)

$(FUZZ)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CLANG,$<)$(CLANG) $(FUZZ_CFLAGS) \
	    -fsanitize=fuzzer-no-link,address,undefined -MMD -MP -c -o $@ $<

$(FUZZ)/libconfmesh.a: $(FUZZ_OBJ)
	$(archive)

$(FUZZ_PROGRAMS): $(FUZZ)/%: $(FUZZ)/obj/tests/fuzz/%.o $(FUZZ)/libconfmesh.a
	$(call say,LINK,$@)$(CLANG) -fsanitize=fuzzer,address,undefined \
	    -pthread -o $@ $^ $(LIBS)

# New finds stay in build/; the corpus that is kept is only read. One target
# after the other, so that each has a core to itself.
fuzz: $(FUZZ_PROGRAMS)
	$(Q)test -n '$(FUZZ_PROGRAMS)' || { echo 'no tests/fuzz/fuzz_*.c' >&2; \
	    exit 1; }
	$(Q)set -e; for program in $(FUZZ_PROGRAMS); do \
	    name=$${program##*/fuzz_}; \
	    mkdir -p $(FUZZ)/found/$$name $(FUZZ)/artifacts/$$name; \
	    corpus=; for dir in tests/fuzz/corpus/$$name \
	        tests/fuzz/corpus/fuzz_$$name; do \
	        [ ! -d $$dir ] || corpus="$$corpus $$dir"; done; \
	    echo "  FUZZ    $$name, $(FUZZ_SECONDS) s"; \
	    log=$(FUZZ)/$$name.log; \
	    $$program -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 \
	        -timeout=10 -rss_limit_mb=1024 \
	        -artifact_prefix=$(FUZZ)/artifacts/$$name/ \
	        $(FUZZ)/found/$$name $$corpus > $$log 2>&1 || \
	        { tail -n 60 $$log; echo "fuzz $$name failed: $$log"; exit 1; }; \
	    grep -E 'number_of_executed_units|new_units_added' $$log; \
	done; echo "fuzz: $(words $(FUZZ_PROGRAMS)) targets, nothing found"

# Seeds that this project's own encoders make; checked in, made again when a
# format changes.
$(BUILD)/fuzz-seeds: tests/fuzz/seeds.c $(FUZZ_SUPPORT_SRC) \
    $(BUILD)/libconfmesh.a $(BUILD)/flags
	$(call say,CC,$<)$(CC) $(ALL_CFLAGS) -o $@ $(filter %.c %.a,$^) $(LIBS)

fuzz-seeds: $(BUILD)/fuzz-seeds
	$(Q)$< tests/fuzz/corpus

include sim/zoo/zoo.mk

# ---- Lint and format -------------------------------------------------------

# clang-tidy's findings, one file for each object: only what changed is looked
# at again. lint shows those that are not empty.
TIDY := $(patsubst %.c,$(BUILD)/tidy/%.log,$(LIB_SRC) $(CLI_SRC) \
    $(RESTORE_SRC) $(SIM_SRC) $(SIM_CLI_SRC))
TIDY_FLAGS = $(filter -std% -D% -I%,$(CM_CFLAGS))

$(BUILD)/tidy/%.log: %.c $(BUILD)/obj/%.o .clang-tidy
	@mkdir -p $(@D)
	$(call say,TIDY,$<)clang-tidy --quiet $< -- $(TIDY_FLAGS) \
	    > $@ 2> $@.err || [ -s $@ ] || cp $@.err $@

lint: all $(TIDY)
	$(Q)BUILD_DIR='$(abspath $(BUILD))' CPPFLAGS='$(TIDY_FLAGS)' \
	    tests/lint/run $(TIDY)

format:
	$(Q)tests/lint/format --write

# ---- Install ---------------------------------------------------------------

VERSION := $(shell sed -n \
    's/^#define CONFMESH_VERSION "\(.*\)"$$/\1/p' node/*.h 2>/dev/null)

install: all $(BUILD)/include/confmesh.h
	$(Q)install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig \
	    $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include
	$(if $(PROGRAMS),$(Q)install -m 755 $(PROGRAMS) \
	    $(DESTDIR)$(PREFIX)/bin/)
	$(Q)install -m 644 $(BUILD)/libconfmesh.a $(DESTDIR)$(PREFIX)/lib/
	$(Q)install -m 644 $(BUILD)/include/confmesh.h $(DESTDIR)$(PREFIX)/include/
	$(Q)printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' \
	    'includedir=$${prefix}/include' '' 'Name: confmesh' \
	    'Description: configuration mesh, embedded' \
	    'Version: $(or $(VERSION),0.1.0)' 'Requires: $(PC_ALL)' \
	    'Libs: -L$${libdir} -lconfmesh -pthread' \
	    'Cflags: -I$${includedir}' \
	    > $(DESTDIR)$(PREFIX)/lib/pkgconfig/confmesh.pc

# ---- The rest --------------------------------------------------------------

deps:
	@echo 'All packages are there.'

clean:
	$(Q)rm -rf build

help:
	@echo 'all        build every program and library (the default)'
	@echo 'test       build and run every test; ONLY="word word" for some'
	@echo 'sim        SEEDS (200) simulated meshes, each twice'
	@echo 'model      Spin models of the rules, and mistakes planted; QUICK=1'
	@echo 'zoo        bugs planted in it that the simulator has to find; BUG=NAME'
	@echo 'zoo-shrink and shrinks what they were found by: a table, medians'
	@echo 'marks      named places of the code that SEEDS have to come by'
	@echo 'nightly    simulated meshes for BUDGET (3600) seconds'
	@echo 'static     build/static: programs that need no library of the system'
	@echo 'test-static the integration tests of the static programs'
	@echo 'demo       a mesh of three nodes, lost and restored; KEEP=1'
	@echo 'bench      the figures, some beside etcd; bench-programs: only built,'
	@echo '           for parts: tests/bench/run http'
	@echo 'fuzz       every decoder for FUZZ_SECONDS (20) each'
	@echo 'fuzz-seeds write the seeds of tests/fuzz/corpus again'
	@echo 'lint       format, static analysis, layers, purity'
	@echo 'format     clang-format every source'
	@echo 'install    to DESTDIR and PREFIX (/usr/local)'
	@echo 'deps       install every Debian package used by any of these'
	@echo 'clean      remove build/'
	@echo 'Variables: V=1 DEBUG=1 WERROR=0|1 SANITIZE=address,undefined|thread'

-include $(patsubst %.o,%.d,$(call objects,$(C_SRC)))
ifneq ($(filter fuzz build/fuzz/%,$(GOALS)),)
-include $(patsubst %.o,%.d,$(FUZZ_OBJ)) \
    $(FUZZ_SRC:%.c=$(FUZZ)/obj/%.d)
endif

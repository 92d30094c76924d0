# The zoo: confmesh-sim with one bug planted in production code, which it has
# to find. `make zoo` for all, `make zoo BUG=NAME` for one; BUG=quick for those
# that budgets calls quick. SHRINK=1 also shrinks what was found and prints a
# table with the medians; `make zoo-shrink` is short for that.

BUG ?=
SHRINK ?=
ZOO_ALL := $(patsubst sim/zoo/%.patch,%,$(sort $(wildcard sim/zoo/*.patch)))
ZOO_QUICK := $(shell sed -n 's/^\([a-z-]*\) .* quick .*/\1/p' sim/zoo/budgets)
ZOO := $(if $(BUG),$(if $(filter quick,$(BUG)),$(ZOO_QUICK),$(BUG)),$(ZOO_ALL))
ZOO_PROGRAMS := $(ZOO:%=$(BUILD)/confmesh-sim-%)

# Whose exit codes a test awaits.
ZOO_TESTED := canary environment-read check-wrong
test: $(ZOO_TESTED:%=$(BUILD)/confmesh-sim-%)

.PHONY: zoo zoo-shrink marks

# The planted objects come first, so that the archives' are not wanted.
$(BUILD)/confmesh-sim-%: sim/zoo/%.patch sim/zoo/plant sim/zoo/compile \
    $(call objects,$(SIM_CLI_SRC)) $(BUILD)/libsim.a $(BUILD)/libconfmesh.a
	$(call say,PLANT,$*)objects=$$(sim/zoo/compile $* $(BUILD)/zoo/$* \
	    $(CC) $(ALL_CFLAGS)) && \
	$(LINK) $(WRAP_FLAGS) $$objects $(call objects,$(SIM_CLI_SRC)) \
	    -Wl,--start-group $(filter %.a,$^) -l:liblmdb.a -Wl,--end-group \
	    $(filter-out -llmdb,$(LIBS))

zoo: $(ZOO_PROGRAMS)
	$(Q)$(RUN_ENV) sim/zoo/run $(if $(SHRINK),--shrink) $(ZOO)

zoo-shrink: $(ZOO_PROGRAMS)
	$(Q)$(RUN_ENV) sim/zoo/run --shrink $(ZOO)

# The page is bytes of an object: see sim/html_page.c.
$(BUILD)/obj/sim/html_page.o: sim/html_page.html

# Which named places the default seeds and the regression plans come by; a build
# of its own.
marks:
	$(Q)$(MAKE) BUILD=build/marks MARKS=1 WERROR=0 build/marks/confmesh-sim
	$(Q)build/marks/confmesh-sim marks --seeds $(SEEDS) \
	    $(sort $(wildcard sim/regress/*.plan))

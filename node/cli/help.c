/* The table of verbs, and confmesh help, which teaches by example. */
#include <string.h>

#include "crdt/base/check.h"
#include "node/cli/cli.h"
#include "node/cli/recovery.h"

#define WORDS_MANY 100000
#define WRITE_FLAGS "if-version author " WAIT_FLAGS
#define WAIT_FLAGS "wait after timeout"
#define READ_FLAGS "after timeout"
#define WAIT_HELP                                                              \
    "  --wait N|majority|all   return when so many members, this one "         \
    "included,\n"                                                              \
    "                     have it on disk; else exit code 2, and the write\n"  \
    "                     stands\n"                                            \
    "  --after TOKEN      first wait for that write to be here\n"              \
    "  --timeout 10s      of --wait and --after\n"
#define AFTER_HELP                                                             \
    "  --after TOKEN   first wait for that write (see 'put --json') to be\n"   \
    "                  here; exit code 2 if it does not come\n"                \
    "  --timeout 10s   how long at most\n"

const struct cli_verb cli_verbs[] = {
    {"init", "DIR", "name authority passphrase-file no-passphrase format-level",
     "make a mesh and its first node",
     "Makes the authority, the one secret that makes the mesh (default file\n"
     "./authority.key; move it off the node), and the first node's directory.\n"
     "  --name NAME             the node's name (needed)\n"
     "  --authority FILE        where the authority goes; never overwritten\n"
     "  --passphrase-file FILE  protect it with the first line of FILE\n"
     "  --no-passphrase         do not protect it\n"
     "  --format-level N        as 'node' has it, for a mesh that older "
     "programs join\n\n"
     "  confmesh init /var/lib/confmesh --name alpha\n"
     "  confmesh node --data /var/lib/confmesh --bind 10.0.0.1:7946\n",
     1, 1, cli_verb_init},
    {"node", "--data DIR",
     "name bind join snapshot-to snapshot-interval snapshot-recipient "
     "snapshot-delta snapshot-drill snapshot-bandwidth snapshot-hook ca-file "
     "revoke-deletes "
     "floor-interval floor-keep scrub-interval format-level dev",
     "run a node",
     "Runs until SIGINT or SIGTERM. A joined directory needs no flag but\n"
     "--data.\n"
     "  --join TOKEN|FILE|-       join a mesh; '-' reads standard input\n"
     "  --name NAME               asked for when joining (default: the "
     "host's)\n"
     "  --bind HOST:PORT          where peers reach it, by UDP and TCP; it is\n"
     "                            remembered (default: the loopback, so that "
     "no\n"
     "                            other machine can)\n"
     "  --api HOST:PORT|unix:PATH serve the API there too; repeatable\n"
     "  --snapshot-to URL         signed snapshots to file:DIR, "
     "s3://BUCKET/PREFIX\n"
     "                            or exec:COMMAND; up to four times; see\n"
     "                            docs/TARGETS.md\n"
     "  --snapshot-interval 10m   how often\n"
     "  --snapshot-drill 24h      the newest one is restored for practice; or "
     "never\n"
     "  --snapshot-delta 10s      new events are put there so often; or "
     "'never'\n"
     "  --snapshot-bandwidth N    bytes per second of all uploads together,\n"
     "                            e.g. 500000, 64K or 2M\n"
     "  --snapshot-hook WHAT      command, or http(s) URL, called after good\n"
     "                            uploads (a dead man's switch)\n"
     "  --snapshot-recipient KEY  encrypt snapshots to this recovery key, or "
     "to\n"
     "                            'authority'; repeatable, see 'recovery-key'\n"
     "  --ca-file FILE            PEM authorities for the S3 endpoint\n"
     "  --scrub-interval 24h      how often the whole store is read to find\n"
     "                            damage\n"
     "  --revoke-deletes PREFIX   plain deletes under it, written here, "
     "become\n"
     "                            revokes; repeatable, see 'revoke'\n"
     "  --floor-interval 10s      quiet time before what everyone has seen "
     "deleted\n"
     "                            is collected; 'never': not asked for here\n"
     "  --floor-keep 1m           how long watches may resume from before it\n"
     "  --format-level N          after an update: go on as the program "
     "before,\n"
     "                            so that it can be put back; without it what "
     "is\n"
     "                            new is announced, and there is no way back\n"
     "  --dev                     a throwaway node, at once, without init\n\n"
     "  confmesh node --dev\n"
     "  confmesh node --data /var/lib/confmesh --bind 10.0.0.1:7946\n"
     "  ssh alpha confmesh --data /var/lib/confmesh token create |\n"
     "      confmesh node --data d --bind 10.0.0.2:7946 --join -\n",
     0, 0, cli_verb_node},
    {"token create", "", "uses ttl reader writes",
     "print a token for a new node to join",
     "The token is alone on the last line. It is a secret until used.\n"
     "  --uses N   redemptions (default 1)\n"
     "  --ttl 1h   how long it is valid (default 1h)\n"
     "  --reader   for a node that only reads: it counts nowhere, holds "
     "nothing\n"
     "             back, and refuses writes\n"
     "  --writes PREFIX   for a node that may write nothing but keys and sets "
     "under\n"
     "                    it (repeatable): what a stolen one can harm is "
     "bounded\n\n"
     "  confmesh token create > token.txt\n"
     "  confmesh token create --uses 20 --ttl 30m\n"
     "  confmesh token create --writes sites/17/ --writes health/\n",
     0, 0, cli_verb_token_create},
    {"recovery-key new", "FILE", "passphrase-file no-passphrase",
     "make a key that encrypted snapshots are restored with",
     "Prints the public part, which nodes are given as --snapshot-recipient.\n"
     "FILE opens every snapshot that was made for it: keep it off the nodes.\n"
     "  --passphrase-file FILE  protect it with the first line of FILE\n"
     "  --no-passphrase         do not protect it\n\n"
     "  confmesh recovery-key new recovery.key\n"
     "  confmesh node --data d --snapshot-to URL --snapshot-recipient KEY\n"
     "  confmesh-restore URL --data new --authority FILE --recovery-key "
     "recovery.key\n",
     1, 1, cli_verb_recovery_key_new},
    {"put", "KEY VALUE", "if-absent unrevoke flags ttl expires-at " WRITE_FLAGS,
     "write a value",
     "Returns when the write is on this node's disk. '-' reads the value from\n"
     "standard input, any bytes.\n"
     "  --if-absent        only if the key has no value (else exit code 1)\n"
     "  --if-version DOT   only if this is the version, see 'get --json'\n"
     "  --unrevoke         lift a revoke\n"
     "  --ttl 1h           gone after this time, everywhere\n"
     "  --expires-at TIME  gone then (2026-11-21T10:00:00Z, or seconds since\n"
     "                     1970)\n"
     "  --flags N          a number kept beside the value\n"
     "  --author NAME      who wrote it, for watchers\n" WAIT_HELP
     "Conditions hold on this node; a concurrent write elsewhere becomes a\n"
     "sibling (see 'get --siblings').\n\n"
     "  confmesh put app/log/level debug\n"
     "  confmesh put app/cert - < cert.der\n"
     "  confmesh put app/color green --wait majority --timeout 5s\n"
     "  confmesh put session/42 alice --ttl 30m\n"
     "  confmesh put locks/migrated yes --if-absent || echo 'was there'\n",
     2, 2, cli_verb_put},
    {"get", "KEY", "siblings " READ_FLAGS, "print a value",
     "Prints the value's bytes and nothing else, no line feed. Exit code 1 if\n"
     "the key is absent.\n"
     "  --json       with version and flags\n"
     "  --siblings   concurrent values that lost as well, as JSON\n" AFTER_HELP
     "\n"
     "  level=$(confmesh get app/log/level)\n"
     "  confmesh get app/cert > cert.der\n",
     1, 1, cli_verb_get},
    {"del", "KEY", WRITE_FLAGS, "delete a key",
     "A concurrent write elsewhere may win over it; see 'revoke'.\n" WAIT_HELP
     "\n"
     "  confmesh del app/log/level\n",
     1, 1, cli_verb_del},
    {"revoke", "KEY...", "author reason " WAIT_FLAGS, "delete keys for good",
     "A revoked key stays revoked whatever stale writers do, until a put with\n"
     "--unrevoke or --if-version names the revoke. Several keys are one\n"
     "transaction.\n"
     "  --reason TEXT      why, told to whoever is refused (256 bytes); every\n"
     "                     member has to know of reasons: 'confmesh "
     "roster'\n" WAIT_HELP "\n"
     "  confmesh revoke users/bob --reason 'left the company'\n"
     "  confmesh revoke users/bob --wait all --timeout 30s\n"
     "  confmesh put users/bob '{}' --unrevoke\n",
     1, WORDS_MANY, cli_verb_revoke},
    {"list", "[PREFIX]", "values " READ_FLAGS, "list keys",
     "One key per line, control characters escaped as in C.\n"
     "  --values   KEY, a tab, VALUE\n"
     "  --json     one JSON value per line\n" AFTER_HELP "\n"
     "  confmesh list app/\n"
     "  confmesh list --values --json | jq .\n",
     0, 1, cli_verb_list},
    {"watch", "[PREFIX]", "from count", "print changes as they happen",
     "One line per change: put KEY VALUE, delete KEY, add KEY ELEMENT, remove\n"
     "KEY ELEMENT. Survives restarts of the node without missing or "
     "repeating;\n"
     "prints 'reset' when changes were missed and all must be read again.\n"
     "  --from REVISION   begin after this revision (or the id of --json)\n"
     "  --count N         stop after N changes\n"
     "  --json            one object per line\n\n"
     "  confmesh watch app/ | while read -r kind key value; do ...; done\n",
     0, 1, cli_verb_watch},
    {"set add", "KEY ELEMENT...", "unrevoke author ttl expires-at " WAIT_FLAGS,
     "add elements to a set",
     "Concurrent adds all stay. Several elements are one transaction.\n"
     "  --ttl 1h           gone after this time, everywhere\n"
     "  --expires-at TIME  gone then\n"
     "  --unrevoke         lift a revoke\n" WAIT_HELP "\n"
     "  confmesh set add admins alice carol\n",
     2, WORDS_MANY, cli_verb_set_add},
    {"set remove", "KEY ELEMENT...", "author " WAIT_FLAGS,
     "remove elements from a set",
     "Removes what this node sees; a concurrent add stays.\n" WAIT_HELP "\n"
     "  confmesh set remove admins carol\n",
     2, WORDS_MANY, cli_verb_set_remove},
    {"set revoke", "KEY ELEMENT...", "author reason " WAIT_FLAGS,
     "remove elements from a set for good",
     "An element that was revoked stays out until 'set add --unrevoke'.\n"
     "  --reason TEXT      why; see 'revoke'\n" WAIT_HELP "\n"
     "  confmesh set revoke admins mallory\n",
     2, WORDS_MANY, cli_verb_set_revoke},
    {"set members", "KEY", READ_FLAGS, "list a set's elements",
     "One per line, control characters escaped as in C. Exit code 1 if there\n"
     "is none.\n" AFTER_HELP "\n"
     "  confmesh set members admins\n",
     1, 1, cli_verb_set_members},
    {"txn", "[FILE|-]", "author " WAIT_FLAGS, "several operations, all or none",
     "Lines of text, or JSON ({\"ops\":[...]} as POST /v1/txn takes it):\n"
     "  put KEY VALUE [--if-absent] [--if-version DOT] [--unrevoke]\n"
     "                [--flags N] [--ttl 1h] [--expires-at TIME]\n"
     "  cas KEY INDEX VALUE             get KEY\n"
     "  del KEY [--if-version DOT]      get-tree PREFIX\n"
     "  delete-cas KEY INDEX            check-index KEY INDEX\n"
     "  delete-tree PREFIX              check-not-exists KEY\n"
     "  revoke KEY [--reason TEXT]      check-version KEY DOT\n"
     "  set-add KEY ELEMENT [--ttl 1h]  set-remove KEY ELEMENT\n"
     "  set-revoke KEY ELEMENT          resolve KEY DOT [--element E]\n"
     "  # a remark\n"
     "INDEX is a modify_index of 'get --json'; of cas, 0 means absent. Quote\n"
     "values with blanks: \"two words\", with \\n \\t \\r \\\" \\\\ "
     "\\xHH. At most\n"
     "4096 operations and 1 MiB. What is read is printed as KEY, a tab, "
     "VALUE.\n"
     "Exit code 1 and nothing written when a condition is false.\n" WAIT_HELP
     "\n"
     "  printf 'put a 1 --if-absent\\ndel b\\n' | confmesh txn\n"
     "  printf 'check-not-exists lock\\nget-tree app/\\n' | confmesh txn\n",
     0, 1, cli_verb_txn},
    {"conflicts", "[PREFIX]", "limit " READ_FLAGS,
     "list keys where somebody's write lost",
     "Concurrent writes of one key: which won, which lost, who wrote them, "
     "when\n"
     "and where. They stay readable until a later write supersedes them.\n"
     "  --limit N   no more than N\n"
     "  --json      one JSON object per line\n" AFTER_HELP "\n"
     "  confmesh conflicts users/\n"
     "  confmesh resolve users/bob --keep 5f0c...:7\n",
     0, 1, cli_verb_conflicts},
    {"explain", "KEY [ELEMENT]", READ_FLAGS, "tell a key's whole story",
     "All siblings with versions and clocks, why this one wins, which members\n"
     "have it, what waits for something and why.\n" AFTER_HELP "\n"
     "  confmesh explain users/bob\n"
     "  confmesh explain admins alice    # an element of a set\n",
     1, 2, cli_verb_explain},
    {"resolve", "KEY [ELEMENT]", "keep if-siblings unrevoke author " WAIT_FLAGS,
     "decide a conflict",
     "Writes the named sibling again, as an ordinary write that supersedes "
     "all.\n"
     "Exit code 1 and nothing written if another sibling has come meanwhile.\n"
     "  --keep VERSION         of 'explain' or 'conflicts' (needed)\n"
     "  --if-siblings V,V...   only if the siblings are these (default: those\n"
     "                         that are there when the command starts)\n"
     "  --unrevoke             keep a value beside a revoke\n" WAIT_HELP "\n"
     "  confmesh resolve users/bob --keep 5f0c...:7\n",
     1, 2, cli_verb_resolve},
    {"import", "DIR|FILE.json|FILE.ini", "prefix ini unrevoke author verbose",
     "write a directory tree, JSON or INI as keys",
     "Files below DIR become keys of their paths; symlinks are not followed;\n"
     "what is left out is told. Nested JSON objects become slash keys,\n"
     "{\"$base64\": \"...\"} a binary value. Keys go in batches, each all or\n"
     "nothing.\n"
     "  --prefix P   put everything below P/\n"
     "  --ini        FILE is INI whatever its name\n"
     "  --verbose    name every file that is left out\n\n"
     "  confmesh import /etc/nginx --prefix hosts/web1/nginx\n"
     "  confmesh import defaults.json --prefix app\n",
     1, 1, cli_verb_import},
    {"export", "PREFIX [DIR]", "ini force", "write keys as files, JSON or INI",
     "The opposite of import; PREFIX '' is everything (registers; not sets).\n"
     "  DIR       one file per key; never outside of DIR\n"
     "  --force   overwrite files that exist\n"
     "  --json    one JSON object on standard output\n"
     "  --ini     INI on standard output\n\n"
     "  confmesh export hosts/web1/nginx ./nginx\n"
     "  confmesh export '' --json > all.json\n",
     1, 2, cli_verb_export},
    {"members", "", "", "list the nodes of the mesh",
     "As this node sees them.\n\n  confmesh members --json\n", 0, 0,
     cli_verb_members},
    {"status", "", "", "tell how the node is",
     "  confmesh status\n  confmesh status --json | jq .ready\n", 0, 0,
     cli_verb_status},
    {"roster", "", "", "tell who may write, and who holds the floor back",
     "Members, the incarnations that were evicted, and for each member what "
     "is\nstill missing of it.\n\n"
     "  confmesh roster\n"
     "  confmesh roster --json | jq -r '.members[] | select(.acked | not)'\n",
     0, 0, cli_verb_roster},
    {"evict", "NODE...", "authority passphrase-file no-passphrase yes none",
     "take nodes out of the mesh for good",
     "For a node that was lost or stolen: an order, signed by the authority, "
     "that\nits incarnations write no more. What members have of them stays; "
     "what comes\nlater is refused everywhere. NODE is a name or an "
     "incarnation. The last\norder is kept in FILE.epoch: no second one is "
     "signed for its epoch.\n"
     "  --authority FILE        the authority's key (default ./authority.key)\n"
     "  --passphrase-file FILE  its passphrase is the first line of FILE\n"
     "  --none                  of two orders of one epoch the one that this "
     "node\n"
     "                          acted upon stands: an order that names "
     "nobody\n"
     "  --yes                   also when fewer members stay than go; with "
     "--none,\n"
     "                          also when this node knows of no such two\n\n"
     "  confmesh evict gamma --authority /mnt/usb/authority.key\n",
     0, EVICT_WORDS_MAX, cli_verb_evict},
    {"issuer", "", "authority passphrase-file no-passphrase",
     "let this node make join tokens",
     "The node that init or restore made makes them at first. This makes "
     "another\nmember one as well: the authority signs its keys with that "
     "right. "
     "To be done\nbefore the last issuer is lost or evicted, or after.\n"
     "  --authority FILE        the authority's key (default ./authority.key)\n"
     "  --passphrase-file FILE  its passphrase is the first line of FILE\n\n"
     "  confmesh issuer --authority /mnt/usb/authority.key\n",
     0, 0, cli_verb_issuer},
    {"retire", "", "", "retire this node's earlier incarnations",
     "Done by itself at each start; here at once, and with an answer.\n\n"
     "  confmesh retire\n",
     0, 0, cli_verb_retire},
    {"doctor", "", "", "tell what is wrong, and what to do",
     "Prints nothing to do and exits 0, or one finding after the other and\n"
     "exits 1: alarms, members that are away, clocks that are wrong, events\n"
     "that wait, snapshots that failed.\n\n"
     "  confmesh doctor\n"
     "  confmesh doctor --json | jq -r '.findings[].found'\n",
     0, 0, cli_verb_doctor},
    {"compare", "NODE", "", "compare this node's state with another's",
     "Prints each entry on which the two differ: what it is, here and there.\n"
     "Equal version vectors must mean equal states; the exit code is 1 if "
     "they\n"
     "differ. Only fingerprints travel, narrower and narrower.\n\n"
     "  confmesh compare node-2\n"
     "  confmesh compare node-2 --json\n",
     1, 1, cli_verb_compare},
    {"adopt", "", "yes from", "agree to a cut that waits",
     "A node that was away for long takes the whole state of another one. If\n"
     "that would delete more than a tenth of its keys and more than 100, it\n"
     "waits until a second member has the same state, or for this. See "
     "\"cuts\"\n"
     "in 'status' first. A node that has adopted a state which nobody could\n"
     "confirm gives it to others from then on.\n"
     "With --from, this node takes what differs from that member: for two\n"
     "nodes whose states differ at one version vector, when nobody else can\n"
     "tell which is right (see 'confmesh compare').\n"
     "  --yes        agree\n"
     "  --from NODE  whose state is right\n\n"
     "  confmesh adopt --yes\n"
     "  confmesh adopt --from node-2 --yes\n",
     0, 0, cli_verb_adopt},
    {"unsent drop", "[ID]", "all", "forget an unsent write",
     "For good. See 'confmesh unsent'.\n"
     "  --all   every one that is parked\n\n"
     "  confmesh unsent drop 3\n",
     0, 1, cli_verb_unsent_drop},
    {"unsent apply", "ID", "unrevoke", "make an unsent write now",
     "As a new write, which supersedes whatever is there.\n"
     "  --unrevoke   lift a revoke\n\n"
     "  confmesh unsent apply 3\n",
     1, 1, cli_verb_unsent_apply},
    {"unsent", "", "", "list writes that the mesh never got",
     "A node that comes back after an eviction, on a copied or restored disk\n"
     "or to a restored mesh keeps what it wrote and nobody has. Once its "
     "earlier\n"
     "incarnation is sealed, what still wins is written again; the rest is\n"
     "parked here with the reason until it is dropped or applied. What other\n"
     "nodes wrote and this one alone brought is listed until it shows.\n\n"
     "  confmesh unsent --json | jq -r '.unsent[].operations[].key'\n",
     0, 0, cli_verb_unsent},
    {"snapshot now", "", "to", "take a signed snapshot",
     "Returns when it was read back and verified.\n"
     "  --to URL   a directory, file:DIR or s3://BUCKET/PREFIX (default: the "
     "node's\n"
     "             --snapshot-to); it is made if missing\n\n"
     "  confmesh snapshot now --to /backup/confmesh\n",
     0, 0, cli_verb_snapshot_now},
    {"snapshot list", "URL", "to ca-file", "list the snapshots of a target",
     "Needs no node. Exit codes: 0; 1 there is none; 3 one is damaged;\n"
     "5 cannot be read.\n\n  confmesh snapshot list /backup/confmesh\n",
     0, 1, cli_verb_snapshot_list},
    {"snapshot diff", "URL [NAME [NAME]]",
     "live at seq prefix adopt recovery-key passphrase-file no-passphrase "
     "ca-file",
     "what has changed since a snapshot",
     "In the living node since the newest (or the named) snapshot; with two "
     "NAMEs,\n"
     "from the first to the second, without a node. Of keys and sets: + is "
     "only in\n"
     "the snapshot, - only in the node (or the second), ~ differs, ! was "
     "revoked and\n"
     "is not any more, x was revoked since.\n"
     "Exit codes: 0 nothing differs; 1 something does; 2 of the node; 3 "
     "damaged;\n4 another mesh's; 5 cannot be read.\n"
     "  --live               the living node (what is meant with one NAME or "
     "none)\n"
     "  --at TIME            as it was then, by the deltas behind the "
     "snapshot\n"
     "                       (2026-11-21T10:00:00Z, or seconds since 1970)\n"
     "  --seq N              the snapshot of this number, or before\n"
     "  --prefix PREFIX      only keys under it\n"
     "  --recovery-key FILE  of an encrypted snapshot\n\n"
     "  confmesh snapshot diff /backup/confmesh --live --prefix app/\n",
     1, 3, cli_verb_snapshot_diff},
    {"restore", "URL [NAME]...",
     "mode merge adopt at seq prefix yes dry-run unrevoke recovery-key "
     "passphrase-file no-passphrase ca-file",
     "bring what snapshots hold into a living mesh",
     "Old values again (--mode reassert, the default): keys and sets under "
     "the\n"
     "prefix become what the snapshot has, by ordinary writes: + was there, is "
     "not,\n"
     "~ had another value, - was not there (goes), ! was revoked (is again), x "
     "was\n"
     "revoked since.\n"
     "  --prefix PREFIX  needed; '' for every key\n"
     "  --at TIME        as it was then, by the deltas behind the snapshot\n"
     "  --seq N          the snapshot of this number, or before\n"
     "  --yes            without it the difference is shown, nothing "
     "written\n"
     "  --unrevoke       also what was revoked since (x)\n"
     "  --adopt          the snapshot may be of another mesh: its keys and "
     "values\n"
     "                   (+ ~) become writes of this one, nothing goes\n"
     "What got lost (--merge, or --mode merge): the node joins the snapshots,\n"
     "several URLs in any order, all that are there or the NAMEs behind a "
     "URL.\n"
     "Newer values here win; of an earlier generation, what is not known here "
     "is\n"
     "written anew.\n"
     "  --dry-run        say what would change\n"
     "  --yes            even if it removes more than a tenth of the keys\n"
     "  --recovery-key FILE, --passphrase-file FILE, --no-passphrase\n"
     "                   for encrypted ones; the node sees their data key "
     "only\n"
     "Exit codes: 0 all of it was whole and is here (1: without --yes it "
     "differs),\n"
     "2 of the node, 3 damaged, 4 of another mesh or beyond a seal, 5 cannot "
     "be\n"
     "read, 6 (--merge) something was left out.\n"
     "A lost mesh is brought back by confmesh-restore.\n\n"
     "  confmesh restore /backup/confmesh --prefix app/ --yes\n"
     "  confmesh restore --merge /backup/east /backup/west\n",
     1, WORDS_MANY, cli_verb_restore},
    {"snapshot prune", "URL",
     "keep-last keep-hourly keep-daily keep-weekly grace dry-run ca-file",
     "delete the snapshots that are not wanted any more",
     "Keeps, of each signer, the newest and one for each of the last hours, "
     "days\n"
     "and weeks, and always the newest one that verifies. What is not needed "
     "is\n"
     "marked first; the first prune after the grace period deletes it. Needs "
     "no\n"
     "node, but leave to delete.\n"
     "  --keep-last 3, --keep-hourly 24, --keep-daily 14, --keep-weekly 8\n"
     "  --grace 24h   how long something stays marked\n"
     "  --dry-run     say what would be done\n\n"
     "  confmesh snapshot prune /backup/confmesh --dry-run\n",
     1, 1, cli_verb_snapshot_prune},
    {"snapshot inspect", "URL [NAME]", "to ca-file",
     "what a snapshot is made of",
     "The newest, or the named one: its manifest, who signed it, sizes, packs, "
     "the\n"
     "deltas behind it. Needs no node and no key.\n"
     "  --json   one object\n\n"
     "  confmesh snapshot inspect /backup/confmesh\n",
     0, 2, cli_verb_snapshot_inspect},
    {"snapshot verify", "URL [NAME]",
     "to trust read-data ca-file " RECOVERY_FLAGS, "check a snapshot whole",
     "Reads every byte of the newest (or the named) one. Needs no node.\n"
     "  --read-data=10%       look that every pack is there, and read a tenth "
     "of\n"
     "                        them (default: all)\n"
     "  --recovery-key FILE   look into an encrypted one; without it its packs "
     "are\n"
     "                        compared with their names\n"
     "  --trust FINGERPRINT   refuse any other authority\n"
     "Exit codes: 0 good; 3 damaged; 4 another authority, or a key that does "
     "not\nopen it; 5 cannot be read, or nothing there.\n\n"
     "  confmesh snapshot verify /backup/confmesh\n"
     "  confmesh snapshot verify s3://bucket/mesh --read-data=5%\n",
     0, 2, cli_verb_snapshot_verify},
    {"snapshot drill", "URL [NAME]", "to scratch ca-file " RECOVERY_FLAGS,
     "restore a snapshot for practice",
     "Restores the newest (or the named) one into a scratch directory, builds "
     "its\n"
     "index anew, compares the roots, applies the deltas, and removes it all.\n"
     "Needs no node. Exit codes: 0 it could be restored, and nothing would be "
     "lost;\n3, 4, 5 as of verify; 6 it could, but deltas would be lost.\n"
     "  --scratch DIR         where (default: TMPDIR, or /tmp)\n"
     "  --recovery-key FILE   of an encrypted one\n\n"
     "  confmesh snapshot drill /backup/confmesh\n",
     0, 2, cli_verb_snapshot_drill},
    {"version", "", "", "print the version", "  confmesh version\n", 0, 0,
     cli_verb_version},
    {"help", "[VERB]", "", "explain a verb", "  confmesh help put\n", 0, 2,
     cli_verb_help},
};
const size_t cli_verbs_count = sizeof(cli_verbs) / sizeof(cli_verbs[0]);
#define VERBS_MAX 128
_Static_assert(sizeof(cli_verbs) / sizeof(cli_verbs[0]) <= VERBS_MAX / 2,
               "verbs and their groups fit into the table of suggestions");

/* Whether the verb's name is words[0], or words[0] and words[1]. */
static size_t verb_matches(const struct cli_verb *v, char **words, size_t count)
{
    const char *blank = strchr(v->name, ' ');
    size_t first = blank == NULL ? strlen(v->name) : (size_t)(blank - v->name);
    if (strlen(words[0]) != first || memcmp(words[0], v->name, first) != 0)
        return 0;
    if (blank == NULL)
        return 1;
    return count > 1 && strcmp(words[1], blank + 1) == 0 ? 2 : 0;
}

const struct cli_verb *cli_verb_find(char **words, size_t count,
                                     size_t *ret_words)
{
    CHECK(count == 0 || words != NULL);
    for (size_t i = 0; count > 0 && i < cli_verbs_count; i++) {
        size_t matched = verb_matches(&cli_verbs[i], words, count);
        if (matched > 0) {
            *ret_words = matched;
            return &cli_verbs[i];
        }
    }
    return NULL;
}

/* Whether word begins verbs of two words ("set"). */
static bool is_group(const char *word)
{
    size_t size = strlen(word);
    for (size_t i = 0; i < cli_verbs_count; i++)
        if (strncmp(cli_verbs[i].name, word, size) == 0 &&
            cli_verbs[i].name[size] == ' ')
            return true;
    return false;
}

static void print_group(FILE *to, const char *word)
{
    size_t size = strlen(word);
    for (size_t i = 0; i < cli_verbs_count; i++)
        if (strncmp(cli_verbs[i].name, word, size) == 0 &&
            cli_verbs[i].name[size] == ' ')
            (void)fprintf(to, "  confmesh %s %s\n", cli_verbs[i].name,
                          cli_verbs[i].words);
}

/* The suggestion for "set ad" is "set add", for "gte" it is "get". */
static const char *suggest(const char *word, const char *second)
{
    const char *names[VERBS_MAX];
    static char firsts[VERBS_MAX][32];
    char text[64];
    size_t count = 0;
    if (second == NULL && is_group(word))
        return NULL;
    if (is_group(word)) {
        int n = snprintf(text, sizeof(text), "%s %s", word, second);
        if (n < 0 || (size_t)n >= sizeof(text))
            return NULL;
        size_t group = strlen(word) + 1;
        for (size_t i = 0; i < cli_verbs_count; i++)
            if (strncmp(cli_verbs[i].name, text, group) == 0)
                names[count++] = cli_verbs[i].name + group;
        const char *found = args_nearest(second, names, count);
        return found == NULL ? NULL : found - group;
    }
    for (size_t i = 0; i < cli_verbs_count; i++) {
        size_t size = strcspn(cli_verbs[i].name, " ");
        CHECK(size < sizeof(firsts[0]));
        memcpy(firsts[i], cli_verbs[i].name, size);
        firsts[i][size] = 0;
        names[count++] = firsts[i];
    }
    return args_nearest(word, names, count);
}

int cli_unknown_verb(const char *word, const char *second)
{
    CHECK(word != NULL);
    const char *near = suggest(word, second);
    if (is_group(word) && near == NULL) {
        (void)fprintf(stderr, "confmesh: '%s' needs one of:\n", word);
        print_group(stderr, word);
        return CLI_USAGE;
    }
    (void)fprintf(stderr, "confmesh: unknown verb '%.60s%s%.60s'", word,
                  is_group(word) ? " " : "",
                  is_group(word) && second != NULL ? second : "");
    if (near != NULL)
        (void)fprintf(stderr, "; did you mean '%s'?\n", near);
    else
        (void)fputs("; 'confmesh help' lists the verbs\n", stderr);
    return CLI_USAGE;
}

void cli_print_usage(FILE *to, const struct cli_verb *v)
{
    CHECK(v != NULL);
    (void)fprintf(to,
                  "usage: confmesh %s%s%s [--flag ...]   ('confmesh help "
                  "%s' explains)\n",
                  v->name, v->words[0] != 0 ? " " : "", v->words, v->name);
}

static void print_all(void)
{
    (void)puts("confmesh: configuration that every node holds whole\n\n"
               "usage: confmesh VERB [WORD...] [--flag ...]\n");
    for (size_t i = 0; i < cli_verbs_count; i++)
        (void)printf("  %-16s %s\n", cli_verbs[i].name, cli_verbs[i].summary);
    (void)puts(
        "\nWhich node: --api HOST:PORT or unix:PATH, else the socket of --data "
        "DIR, else\n$CONFMESH_API (as --api), else the running user's:\n"
        "$XDG_RUNTIME_DIR/confmesh/api.sock, as root "
        "/run/confmesh/api.sock, else\n~/.confmesh/api.sock (what 'node "
        "--dev' serves). Flags stand anywhere; words\nafter -- are never "
        "flags. --json prints for programs.\n\n"
        "Exit codes: 0 done; 1 absent key or condition false; 2 node not "
        "reached or\nrequest failed; 64 usage.\n\n"
        "A first try:\n"
        "  confmesh node --dev &\n"
        "  confmesh put greeting hello\n"
        "  confmesh get greeting\n"
        "  confmesh help put");
}

int cli_verb_help(struct cli *c)
{
    size_t matched = 0;
    if (c->words_count == 0 ||
        (c->words_count == 1 && strcmp(c->words[0], "help") == 0 &&
         cli_has(c, "help"))) {
        print_all();
        return CLI_DONE;
    }
    const struct cli_verb *v =
        cli_verb_find(c->words, c->words_count, &matched);
    if (v == NULL && c->words_count == 1 && is_group(c->words[0])) {
        print_group(stdout, c->words[0]);
        return CLI_DONE;
    }
    if (v == NULL)
        return cli_unknown_verb(c->words[0],
                                c->words_count > 1 ? c->words[1] : NULL);
    (void)printf("confmesh %s%s%s: %s\n\n%s", v->name,
                 v->words[0] != 0 ? " " : "", v->words, v->summary, v->help);
    return CLI_DONE;
}

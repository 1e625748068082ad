#!/bin/sh
# Starts the broker, after it has put a copy of the database aside.
#
# Mosquitto saves its database whenever it exits, also when it could not load it:
# 2.1 overwrites a damaged one on its first failed start, and with a restart policy
# the next start succeeds without the messages. So the copies are made here, and
# while a loss stands (the file "lost") no copy from before it is given up, however
# often this runs.
#
# It needs nothing but a POSIX shell and the usual tools, runs as uid 1883 without
# capabilities, and never keeps the broker from starting because of a copy.
set -u
umask 077

# Credentials of a login that was to prove a change, left by a killed mqtunnel.
rm -f /mosquitto/config/mosquitto_sub 2>/dev/null

data=/mosquitto/data
broker=/usr/sbin/mosquitto
config=/mosquitto/config/mqtunnel.conf

# Copies kept: the newest, the fullest, and the newest of the rest.
keep=3
# Bytes of a database without any content are 47; records take more than the rest.
empty=64
# Databases of more bytes are not walked through, and only one copy of such is kept:
# a start must not take minutes on a small computer.
large=33554432

db=$data/mosquitto.db
copies=$data/copies
lost=$copies/lost

say() { echo "mqtunnel: $*" >&2; }
warn() { say "warning: $*"; }
refuse() {
	say "error: $*"
	exit 1
}

size() { echo $(($(wc -c <"$1"))); }

# survey prints what a database is, and its number of retained messages: "ok 12",
# "damaged 3" where the chain of records breaks off, "unknown 0" for a format that
# is not known here. A header of 23 bytes (15 of magic, checksum, version) is
# followed by records: type and length, 4 bytes each, then the content. Type 4 is
# a retained message.
survey() {
	od -An -v -tu1 "$1" 2>/dev/null | LC_ALL=C awk -v size="$2" '
		BEGIN { split("0 181 0 109 111 115 113 117 105 116 116 111 32 100 98", magic, " ") }
		{
			while (want < base + NF) {
				byte = $(want - base + 1)
				if (want < 15) {
					if (byte != magic[want + 1]) { verdict = "damaged"; exit }
				} else if (want >= 19) {
					word = word * 256 + byte
					if (++got == 4 && !version) {
						version = word; word = got = 0
						if (version != 5 && version != 6) { verdict = "unknown"; exit }
					} else if (got == 4) {
						type = word; word = 0
						if (type == 0) { verdict = "damaged"; exit }
					} else if (got == 8) {
						want += word; word = got = 0
						if (want + 1 > size) { verdict = "damaged"; exit }
						if (type == 4) retained++
					}
				}
				want++
			}
			base += NF
		}
		END {
			if (!verdict) verdict = !NR ? "unknown" : (version && !got && want == size) ? "ok" : "damaged"
			print verdict, retained + 0
		}'
}

# look reads the copies there are. Their names are NUMBER-retained-COUNT.db, rising
# numbers and not times, since a small computer may start without a clock.
look() {
	count=0 newest=0 newest_file='' newest_retained=0 newest_bytes=0
	fullest=0 fullest_retained=-1 fullest_bytes=0
	for file in "$copies"/[1-9]*-retained-*.db; do
		[ -f "$file" ] && [ -r "$file" ] || continue
		name=${file##*/}
		number=${name%%-*}
		retained_there=${name##*-retained-}
		retained_there=${retained_there%.db}
		case $number$retained_there in *[!0-9]*) continue ;; esac
		bytes_there=$(size "$file")
		count=$((count + 1))
		if [ "$number" -gt "$newest" ]; then
			newest=$number newest_file=$file
			newest_retained=$retained_there newest_bytes=$bytes_there
		fi
		if [ "$retained_there" -gt "$fullest_retained" ] ||
			{ [ "$retained_there" -eq "$fullest_retained" ] &&
				{ [ "$bytes_there" -gt "$fullest_bytes" ] ||
					{ [ "$bytes_there" -eq "$fullest_bytes" ] && [ "$number" -gt "$fullest" ]; }; }; }; then
			fullest=$number fullest_retained=$retained_there fullest_bytes=$bytes_there
		fi
	done
}

# prune gives up copies until enough are left. While a loss stands, only copies
# from after it count and go, and one of those stays.
prune() {
	while look; do
		oldest=0 oldest_file='' after=0
		for file in "$copies"/[1-9]*-retained-*.db; do
			[ -f "$file" ] || continue
			name=${file##*/}
			number=${name%%-*}
			case $number in *[!0-9]*) continue ;; esac
			[ "$number" -gt "$lost_number" ] || continue
			after=$((after + 1))
			[ "$number" -ne "$newest" ] || continue
			[ "$lost_number" -gt 0 ] || [ "$number" -ne "$fullest" ] || continue
			if [ "$oldest" -eq 0 ] || [ "$number" -lt "$oldest" ]; then
				oldest=$number oldest_file=$file
			fi
		done
		[ "$oldest" -gt 0 ] || return 0
		if [ "$lost_number" -gt 0 ]; then
			[ "$after" -gt 1 ] || return 0
		else
			[ "$count" -gt "$keep" ] || return 0
		fi
		rm -f "$oldest_file" || return 0
	done
}

# put_aside copies the database to a name, all or nothing, and on the disk before
# anything relies on it.
put_aside() {
	if mkdir -p "$copies" 2>/dev/null &&
		dd if="$db" of="$copies/.new" bs=65536 conv=fsync 2>/dev/null &&
		cmp -s "$db" "$copies/.new" &&
		mv -f "$copies/.new" "$copies/$1" 2>/dev/null; then
		return 0
	fi
	rm -f "$copies/.new" 2>/dev/null
	warn "no copy of the database could be written to $copies: is the disk full or read-only?"
	return 1
}

# remember notes the first loss with what there was before; a later one does not
# replace it.
remember() {
	before=$newest_retained before_bytes=$newest_bytes
	[ "$before" -gt "$retained" ] || [ "$state" != damaged ] || before=$((retained + 1))
	lost_number=$newest lost_since=$(date +%s) lost_retained=$before lost_bytes=$before_bytes
	[ "$lost_number" -gt 0 ] || lost_number=1
	if [ "$state" = damaged ]; then
		put_aside damaged.db
	fi
	mkdir -p "$copies" 2>/dev/null
	(echo "$lost_number $lost_since $lost_retained $lost_bytes" >"$lost.new" && mv -f "$lost.new" "$lost") 2>/dev/null ||
		warn "$lost could not be written"
}

# recall reads the note of a loss, if there is one.
recall() {
	lost_number=0 lost_since=0 lost_retained=0 lost_bytes=0
	[ -r "$lost" ] || return 0
	read -r a b c d <"$lost" || return 0
	case $a$b$c$d in '' | *[!0-9]*) return 0 ;; esac
	[ -n "$d" ] || return 0
	lost_number=$a lost_since=$b lost_retained=$c lost_bytes=$d
}

[ ! -d "$data" ] || { [ -r "$data" ] && [ -x "$data" ]; } ||
	refuse "$data cannot be read by uid $(id -u): the broker would start empty and overwrite what is there; give it to uid 1883"
if [ -L "$db" ] || { [ -e "$db" ] && [ ! -f "$db" ]; }; then
	refuse "$db is not a regular file: the broker would start empty"
fi
if [ -e "$db" ] && [ ! -r "$db" ]; then
	refuse "$db cannot be read by uid $(id -u): the broker would start empty and overwrite it; give it to uid 1883"
fi
if (: >"$data/.writable") 2>/dev/null; then
	rm -f "$data/.writable"
else
	warn "$data is not writable: nothing that changes from now on survives a restart"
fi

recall
look
previous=$newest_bytes previous_retained=$newest_retained had=$count
bytes=0 retained=0
if [ ! -e "$db" ]; then
	state=new
	[ "$had" -eq 0 ] || state=missing
else
	bytes=$(size "$db")
	if [ "$bytes" -eq 0 ]; then
		state=empty
	else
		found='unknown 0'
		if [ "$bytes" -le "$large" ]; then
			found=$(survey "$db" "$bytes")
		else
			keep=1
		fi
		state=${found%% *} retained=${found##* }
		case $state:$retained in
		ok:*[!0-9]* | ok: | '':*) state=unknown retained=0 ;;
		esac
	fi
fi
case $state in
ok)
	if [ $((retained * 2)) -lt "$previous_retained" ] ||
		{ [ "$bytes" -le "$empty" ] && [ "$previous" -gt "$empty" ]; }; then
		state=shrunk
	fi
	;;
unknown)
	if [ $((bytes * 2)) -lt "$previous" ]; then
		state=shrunk
	fi
	;;
esac

case $state in
missing | empty | damaged | shrunk)
	if [ "$lost_number" -eq 0 ] && { [ "$had" -gt 0 ] || [ "$state" = damaged ]; }; then
		remember
	fi
	;;
ok)
	if [ "$lost_number" -gt 0 ] && [ "$retained" -ge "$lost_retained" ] &&
		[ $((bytes * 2)) -ge "$lost_bytes" ]; then
		rm -f "$lost" 2>/dev/null
		lost_number=0
	fi
	;;
esac

case $state in
ok | shrunk | unknown)
	if [ -z "$newest_file" ] || ! cmp -s "$db" "$newest_file"; then
		next=$newest
		[ "$next" -ge "$lost_number" ] || next=$lost_number
		put_aside "$((next + 1))-retained-$retained.db"
	fi
	;;
esac
prune
look

line="database bytes=$bytes retained=$retained previous=$previous previous-retained=$previous_retained copies=$count state=$state"
if [ "$lost_number" -gt 0 ]; then
	line="$line lost-since=$lost_since lost-retained=$lost_retained lost-bytes=$lost_bytes"
fi
say "$line"
if [ "$lost_number" -gt 0 ]; then
	warn "the database held $lost_retained retained messages and holds $retained now; $count copies are in $copies; if that is meant, remove $lost"
fi

exec "$broker" -c "$config"

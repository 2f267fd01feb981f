# Writes profile updates as a shop would send them, one JSON object a line. -v part=1: customers sign up, join audiences, change
# their points and devices, some leave. -v part=2: what happens later. Always the same lines.

function pick(list, n, parts) { split(list, parts, " "); return parts[n % 8 + 1] }

function identity(n) { return sprintf("\"identityMap\":{\"Email\":[{\"id\":\"customer%d@example.com\"}],\"ECID\":[{\"id\":\"%020d\"}]}", n, n * 7919) }

function membership(audience, status, minute) {
    return sprintf("\"segmentMembership\":{\"ups\":{\"%s\":{\"status\":\"%s\",\"lastQualificationTime\":\"2026-03-%02dT%02d:%02d:00Z\"}}}", \
        audience, status, minute % 28 + 1, minute % 24, minute % 60)
}

function update(n, entity) { printf "{\"header\":{\"profileId\":\"customer-%d\"},\"body\":{\"xdmEntity\":{%s}}}\n", n, entity }

BEGIN {
    first = "Ada Grace Alan Edsger Barbara Donald Radia Linus"
    last = "Lovelace Hopper Turing Dijkstra Liskov Knuth Perlman Torvalds"
    if (part == 1) {
        for (n = 1; n <= 1500; n++) {
            person = sprintf("\"person\":{\"name\":{\"firstName\":\"%s\",\"lastName\":\"%s\"},\"birthYear\":%d},\"personalEmail\":{\"address\":\"customer%d@example.com\"},\"loyalty\":{\"points\":%d,\"tier\":\"silver\"}", \
                pick(first, n), pick(last, int(n / 8)), 1950 + n % 50, n, n % 900)
            update(n, person "," identity(n) (n % 3 ? "" : "," membership("newsletter-readers", "realized", n)))
        }
        for (n = 1; n <= 1500; n += 2) update(n, membership("vip-customers", "realized", n))
        for (n = 1; n <= 1500; n += 5) update(n, sprintf("\"loyalty\":{\"points\":%d.50}", 1000 + n))
        for (n = 1; n <= 1500; n += 11) update(n, sprintf("\"identityMap\":{\"Phone\":[{\"id\":\"+4930%07d\"}]}", n))
        for (n = 1; n <= 1500; n += 25) update(n, "\"loyalty\":{\"tier\":\"gold\"}")
        for (n = 1; n <= 1500; n += 10) update(n, membership("vip-customers", "exited", n + 1))
    } else {
        for (n = 3; n <= 1500; n += 6) update(n, sprintf("\"loyalty\":{\"points\":%d}", 2000 + n))
        for (n = 2; n <= 1500; n += 20) update(n, membership("vip-customers", "realized", n + 2))
    }
}

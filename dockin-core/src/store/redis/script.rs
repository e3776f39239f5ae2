//! What is done in one step, as scripts that Redis runs. All of them check the size of what they
//! give: nobody's huge value fills a gateway's memory.

use std::sync::LazyLock;

use ::redis::Script;

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $code:expr;)*) => {
        $($(#[$doc])* pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new($code));)*
    };
}

scripts! {
    /// `since`, `revoked`; now and issued in milliseconds: 1 when it proves nothing.
    IS_REVOKED = r"
        local since = redis.call('GET', KEYS[1])
        if not since then
            redis.call('SET', KEYS[1], ARGV[1])
            since = ARGV[1]
        end
        if redis.call('EXISTS', KEYS[2]) == 1 or tonumber(ARGV[2]) < tonumber(since) then
            return 1
        end
        return 0";
    /// `revoked`; seconds.
    REVOKE = "redis.call('SET', KEYS[1], '', 'EX', ARGV[1]) return 1";
    /// `signer`; public key, seconds. What another copy of the key wants longer stays longer.
    PUBLISH_SIGNER = r"
        local left = redis.call('TTL', KEYS[1])
        redis.call('SET', KEYS[1], ARGV[1], 'EX', math.max(left, tonumber(ARGV[2])))
        return 1";
    /// `text`; most bytes.
    TEXT = r"
        if redis.call('STRLEN', KEYS[1]) > tonumber(ARGV[1]) then
            return redis.error_reply('TOOLONG a value that is none')
        end
        return redis.call('GET', KEYS[1])";
    /// `accounts`; user, most bytes: the account and its version, or nothing.
    ACCOUNT = r"
        if redis.call('HSTRLEN', KEYS[1], ARGV[1]) > tonumber(ARGV[2]) then
            return redis.error_reply('TOOLONG an account that is none')
        end
        local found = redis.call('HGET', KEYS[1], ARGV[1])
        if not found then return {} end
        return { found, redis.sha1hex(found) }";
    /// `accounts`, or `agents` and `version of agents`; name, version of the record or nothing,
    /// record or nothing: 1 when it was that version.
    CHANGE = r"
        local found = redis.call('HGET', KEYS[1], ARGV[1])
        if (found and redis.sha1hex(found) or '') ~= ARGV[2] then return 0 end
        if ARGV[3] == '' then
            redis.call('HDEL', KEYS[1], ARGV[1])
        else
            redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
        end
        if KEYS[2] then
            local clock, change = redis.call('TIME'), redis.sha1hex(ARGV[1] .. ARGV[2] .. ARGV[3])
            redis.call('SET', KEYS[2], clock[1] .. '.' .. clock[2] .. '.' .. change)
        end
        return 1";
    /// `agents`, `version of agents`; version or nothing, most agents, most bytes: the version and
    /// all agents, or the version and `=` when it is the same.
    AGENTS = r"
        local version = redis.call('GET', KEYS[2]) or ''
        if version ~= '' and version == ARGV[1] then return { version, '=' } end
        if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[2]) then
            return redis.error_reply('TOOLONG more agents than there can be')
        end
        local found, size = { version }, 0
        for _, one in ipairs(redis.call('HVALS', KEYS[1])) do
            size = size + #one
            if size > tonumber(ARGV[3]) then
                return redis.error_reply('TOOLONG more agents than there can be')
            end
            found[#found + 1] = one
        end
        return found";
    /// `ended`; milliseconds since the epoch, seconds.
    END_USER = "redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) return 1";
    /// `token`, `tokens of its owner`; record, seconds, id, hash, most, prefix of tokens: 0 when
    /// there are as many already.
    ADD_TOKEN = r"
        local held = redis.call('HGETALL', KEYS[2])
        local count = 0
        for at = 1, #held, 2 do
            if redis.call('EXISTS', ARGV[6] .. held[at + 1]) == 1 then
                count = count + 1
            else
                redis.call('HDEL', KEYS[2], held[at])
            end
        end
        if count >= tonumber(ARGV[5]) then return 0 end
        redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
        redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
        return 1";
    /// `tokens of somebody`; most bytes of one, prefix of tokens.
    TOKENS_OF = r"
        local found = {}
        for _, hash in ipairs(redis.call('HVALS', KEYS[1])) do
            local key = ARGV[2] .. hash
            if redis.call('STRLEN', key) > tonumber(ARGV[1]) or #found >= 100 then
                return redis.error_reply('TOOLONG tokens that are no tokens')
            end
            local record = redis.call('GET', key)
            if record then found[#found + 1] = record end
        end
        return found";
    /// `tokens of somebody`; id, prefix of tokens: 1 when there was one.
    REMOVE_TOKEN = r"
        local hash = redis.call('HGET', KEYS[1], ARGV[1])
        if not hash then return 0 end
        redis.call('HDEL', KEYS[1], ARGV[1])
        return redis.call('DEL', ARGV[2] .. hash)";
    /// `count`; milliseconds that let it happen once more, how many at once: milliseconds to wait.
    /// The value is the time at which all would be forgotten.
    COUNT = r"
        local clock = redis.call('TIME')
        local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
        local every, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
        local ends = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
        local wait = ends - now - (burst - 1) * every
        if wait > 0 then return wait end
        redis.call('SET', KEYS[1], string.format('%.0f', ends + every), 'PX', ends + every - now)
        return 0";
    /// `count`; milliseconds.
    UNCOUNT = r"
        local clock = redis.call('TIME')
        local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
        local ends = tonumber(redis.call('GET', KEYS[1]) or 0) - tonumber(ARGV[1])
        if ends <= now then
            redis.call('DEL', KEYS[1])
        else
            redis.call('SET', KEYS[1], string.format('%.0f', ends), 'PX', ends - now)
        end
        return 1";
    /// `gateways`, `sessions of one`; gateway, milliseconds, afresh, how many opened, how many
    /// there are, then id and session of each that opened, then ids that ended: 1 when the store
    /// has as many.
    TELL_SESSIONS = r"
        if ARGV[3] == '1' then redis.call('DEL', KEYS[2]) end
        local at = 6
        for _ = 1, tonumber(ARGV[4]) do
            redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
            at = at + 2
        end
        for one = at, #ARGV do redis.call('HDEL', KEYS[2], ARGV[one]) end
        redis.call('SADD', KEYS[1], ARGV[1])
        redis.call('PEXPIRE', KEYS[2], ARGV[2])
        if redis.call('HLEN', KEYS[2]) == tonumber(ARGV[5]) then return 1 end
        return 0";
    /// `gateways`; prefix of sessions, most bytes.
    SESSIONS = r"
        local found, size = {}, 0
        for _, gateway in ipairs(redis.call('SMEMBERS', KEYS[1])) do
            local key = ARGV[1] .. gateway
            local all = redis.call('HVALS', key)
            if #all == 0 then redis.call('SREM', KEYS[1], gateway) end
            for _, one in ipairs(all) do
                size = size + #one
                if size > tonumber(ARGV[2]) then
                    return redis.error_reply('TOOLONG more sessions than there can be')
                end
                found[#found + 1] = one
            end
        end
        return found";
    /// `list`; most members, most bytes.
    LIST = r"
        if redis.call('SCARD', KEYS[1]) > tonumber(ARGV[1]) then
            return redis.error_reply('TOOLONG a list of more than ' .. ARGV[1])
        end
        local size = 0
        local all = redis.call('SMEMBERS', KEYS[1])
        for _, one in ipairs(all) do size = size + #one end
        if size > tonumber(ARGV[2]) then
            return redis.error_reply('TOOLONG a list of more than ' .. ARGV[2] .. ' bytes')
        end
        return all";
    /// `lease`; who, milliseconds: 1 when it is his, 2 when it was nobody's.
    LEASE = r"
        local holder = redis.call('GET', KEYS[1])
        if holder and holder ~= ARGV[1] then return 0 end
        redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
        return holder and 1 or 2";
    /// `objects of a name`, `object by name`, `objects of a cluster`, perhaps `object by uid`;
    /// cluster and namespace, namespace and name, JSON, seconds under the uid.
    CACHE_OBJECT = r"
        redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
        redis.call('SADD', KEYS[3], ARGV[2])
        local first = ARGV[1]
        for _, place in ipairs(redis.call('HKEYS', KEYS[1])) do
            if place < first then first = place end
        end
        redis.call('SET', KEYS[2], redis.call('HGET', KEYS[1], first))
        if KEYS[4] then redis.call('SET', KEYS[4], ARGV[3], 'EX', ARGV[4]) end
        return 1";
    /// `objects of a name`, `object by name`, `objects of a cluster`; cluster and namespace,
    /// namespace and name, prefix of objects by uid.
    UNCACHE_OBJECT = r"
        local old = redis.call('HGET', KEYS[1], ARGV[1])
        if old and ARGV[3] ~= '' then
            local is_json, object = pcall(cjson.decode, old)
            local metadata = is_json and type(object) == 'table' and object.metadata
            if type(metadata) == 'table' and type(metadata.uid) == 'string' then
                redis.call('DEL', ARGV[3] .. metadata.uid)
            end
        end
        redis.call('HDEL', KEYS[1], ARGV[1])
        redis.call('SREM', KEYS[3], ARGV[2])
        local first
        for _, place in ipairs(redis.call('HKEYS', KEYS[1])) do
            if not first or place < first then first = place end
        end
        if first then
            redis.call('SET', KEYS[2], redis.call('HGET', KEYS[1], first))
        else
            redis.call('DEL', KEYS[2])
        end
        return 1";
    /// `list`; how many are added, those, and those that are removed.
    CHANGE_LIST = r"
        local add = tonumber(ARGV[1])
        for at = 2, #ARGV do
            redis.call(at <= add + 1 and 'SADD' or 'SREM', KEYS[1], ARGV[at])
        end
        return 1";
}

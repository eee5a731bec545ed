"""The schema of a ledger's file, version by version."""

from __future__ import annotations

# One script per version, applied in order; `PRAGMA user_version` counts them. A released script is never edited.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

    CREATE TABLE tasks (
        id INTEGER PRIMARY KEY,
        external_task_id TEXT NOT NULL UNIQUE,
        base_id TEXT NOT NULL,
        manifest TEXT NOT NULL,
        job_id TEXT NOT NULL,
        take INTEGER NOT NULL,
        digest TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('pending', 'submitting', 'unknown', 'submitted', 'succeeded',
                                             'downloaded', 'failed', 'rejected')),
        kind TEXT NOT NULL,             -- mode/duration
        attempt INTEGER NOT NULL,
        created_at REAL NOT NULL,       -- times are Unix seconds
        submitted_at REAL,
        finished_at REAL,
        length REAL,                    -- seconds that the task took, where it ended well
        task_id TEXT,
        error_code TEXT,
        error_message TEXT,
        request_id TEXT,
        output_path TEXT NOT NULL,
        output_key TEXT,                -- output_path as a file system sees it that ignores case; while it is held
        video_url TEXT,
        video_path TEXT,
        video_sha256 TEXT,
        cost_usd_estimate REAL,
        units_charged TEXT,
        canonical TEXT NOT NULL
    );
    CREATE INDEX tasks_job ON tasks (manifest, job_id, take);
    CREATE INDEX tasks_retry ON tasks (base_id) WHERE external_task_id <> base_id;
    CREATE INDEX tasks_state ON tasks (state);
    -- Two rows that may have a clip never share a file; a row that can have none lets its path go.
    CREATE UNIQUE INDEX tasks_output ON tasks (output_key) WHERE output_key IS NOT NULL;
    CREATE INDEX tasks_length ON tasks (kind, finished_at, length) WHERE length IS NOT NULL;

    CREATE TABLE events (
        id INTEGER PRIMARY KEY,         -- the order; clocks may jump
        task INTEGER NOT NULL REFERENCES tasks (id),
        at REAL NOT NULL,
        event TEXT NOT NULL,
        from_state TEXT,
        to_state TEXT NOT NULL,
        code TEXT,
        message TEXT,
        request_id TEXT,
        detail TEXT                     -- a JSON object, or nothing
    );
    CREATE INDEX events_task ON events (task);

    CREATE TABLE images (
        path TEXT PRIMARY KEY,
        size INTEGER NOT NULL,
        mtime_ns TEXT NOT NULL,         -- may exceed 64 bits with a sign, as inode may
        inode TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        format TEXT NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL
    ) WITHOUT ROWID;

    CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
    CREATE TRIGGER events_last BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
    CREATE TRIGGER tasks_last BEFORE DELETE ON tasks BEGIN SELECT RAISE(ABORT, 'tasks are never forgotten'); END;
    CREATE TRIGGER tasks_stay BEFORE UPDATE OF id, external_task_id, base_id ON tasks
        BEGIN SELECT RAISE(ABORT, 'a task keeps its id'); END;
    """,
    # A job that was renamed is found by what shapes its clip, and a task has one owner.
    "CREATE INDEX tasks_digest ON tasks (digest); CREATE INDEX tasks_task ON tasks (task_id);",
    """
    ALTER TABLE tasks ADD COLUMN image TEXT;    -- what was sent, as a path or URL: for people
    ALTER TABLE tasks ADD COLUMN parts TEXT;    -- a JSON array of {part, url, path, sha256}: the clip's further files
    ALTER TABLE tasks ADD COLUMN output_dir TEXT;       -- the output folder that output_path lies below
    ALTER TABLE tasks ADD COLUMN video_size INTEGER;    -- bytes
    UPDATE tasks SET video_size = (
        SELECT json_extract(detail, '$.bytes') FROM events
        WHERE task = tasks.id AND event = 'downloaded' ORDER BY events.id DESC LIMIT 1
    ) WHERE state = 'downloaded';
    -- Clips that are about to be renamed, or have been and it isn't recorded yet; from video_path to target.
    CREATE TABLE moves (task INTEGER PRIMARY KEY REFERENCES tasks (id), target TEXT NOT NULL);
    ALTER TABLE images ADD COLUMN orientation INTEGER NOT NULL DEFAULT 1;   -- what EXIF says; 1 is upright, or not known

    -- Jobs whose images failed their checks when their manifest was last run; nothing of them can be at the API.
    CREATE TABLE unusable (
        manifest TEXT NOT NULL,
        job_id TEXT NOT NULL,
        take INTEGER NOT NULL,
        evidence TEXT NOT NULL,         -- another one where a file was replaced
        text TEXT NOT NULL,
        since REAL NOT NULL,
        given_up TEXT,                  -- by whom, as long as the evidence stays
        PRIMARY KEY (manifest, job_id, take)
    ) WITHOUT ROWID;
    """,
    """
    -- What a person said of a row's clip, and which takes people ordered: only ever added to, the last line counts.
    CREATE TABLE verdicts (
        id INTEGER PRIMARY KEY,
        task INTEGER NOT NULL REFERENCES tasks (id),
        at REAL NOT NULL,
        verdict TEXT CHECK (verdict IN ('keep', 'retake')),     -- NULL takes back what was said before
        note TEXT,
        by TEXT
    );
    CREATE INDEX verdicts_task ON verdicts (task);
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY,
        manifest TEXT NOT NULL,
        job_id TEXT NOT NULL,
        take INTEGER NOT NULL,
        at REAL NOT NULL,
        withdrawn INTEGER NOT NULL CHECK (withdrawn IN (0, 1)),
        note TEXT,
        by TEXT
    );
    CREATE INDEX orders_job ON orders (manifest, job_id, take);
    CREATE TRIGGER verdicts_stay BEFORE UPDATE ON verdicts BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
    CREATE TRIGGER verdicts_last BEFORE DELETE ON verdicts BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
    CREATE TRIGGER orders_stay BEFORE UPDATE ON orders BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
    CREATE TRIGGER orders_last BEFORE DELETE ON orders BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
    """,
    # Half a digest finds a row as well. From here on, texts may be packed: see packing.py.
    "DROP INDEX tasks_digest; CREATE INDEX tasks_digest ON tasks (substr(digest, 1, 16));",
    """
    -- Money is in whole micro-dollars; what rows of earlier versions cost is reckoned at the prices of then.
    ALTER TABLE tasks ADD COLUMN estimate INTEGER;  -- in place of cost_usd_estimate, which is empty from here on
    ALTER TABLE tasks ADD COLUMN charged INTEGER;   -- what the API says that it charged
    ALTER TABLE tasks ADD COLUMN balance TEXT;      -- its final_balance_deduction, as JSON; units_charged has the units
    ALTER TABLE tasks ADD COLUMN quarter INTEGER;   -- the quarter of an hour, since 1970, that the money counts in
    UPDATE tasks SET
        estimate = CAST(round(min(cost_usd_estimate, 1e9) * 1000000) AS INTEGER),
        cost_usd_estimate = NULL,
        charged = CASE WHEN task_id IS NOT NULL AND units_charged GLOB '[0-9]*' AND units_charged NOT GLOB '*[^0-9.]*'
            AND length(units_charged) <= 9 AND CAST(units_charged AS REAL) BETWEEN 0 AND 7000
            AND (state = 'failed' OR CAST(units_charged AS REAL) > 0)  -- a clip for nothing isn't believed
            THEN CAST(round(CAST(units_charged AS REAL) * 140000) AS INTEGER) END,
        quarter = CAST(coalesce(
            (SELECT at FROM events WHERE task = tasks.id AND event IN ('i', 'intent') ORDER BY events.id DESC LIMIT 1),
            submitted_at, created_at) / 900 AS INTEGER);
    -- The sums of what counts, by quarter of an hour: what the API charged, and the estimate of what it may charge.
    CREATE TABLE spent (quarter INTEGER PRIMARY KEY, micros INTEGER NOT NULL);
    INSERT INTO spent SELECT quarter, sum(CASE
            WHEN state = 'pending' OR (state = 'rejected' AND (error_code IS NOT 'abandoned' OR attempt = 0)) THEN 0
            ELSE coalesce(charged, estimate, 0) END)
        FROM tasks GROUP BY quarter;
    -- What a day, a week and a month may cost, in micro-dollars; NULL is no limit. The last line counts.
    CREATE TABLE budgets (
        id INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        day INTEGER,
        week INTEGER,
        month INTEGER,
        timezone TEXT NOT NULL,         -- an IANA name: where days, weeks and months begin
        by TEXT
    );
    CREATE TRIGGER budgets_stay BEFORE UPDATE ON budgets BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
    CREATE TRIGGER budgets_last BEFORE DELETE ON budgets BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
    INSERT OR IGNORE INTO meta VALUES ('identity', lower(hex(randomblob(16))));     -- what an approval was made with
    """,
    """
    -- The runs: each that took the ledger, or found it taken by another one.
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,      -- a UUID: what it is called outside of the ledger
        began REAL NOT NULL,
        ended REAL,                     -- NULL: it is on, or was killed
        command TEXT NOT NULL,
        arguments TEXT NOT NULL,        -- a JSON list
        host TEXT NOT NULL,
        process INTEGER NOT NULL,
        version TEXT NOT NULL,
        exit_code INTEGER,
        summary TEXT                    -- a JSON object: counts, money, why it stopped
    );
    ALTER TABLE tasks ADD COLUMN run INTEGER;   -- the run that sent its last create; NULL: one of an earlier version
    """,
)

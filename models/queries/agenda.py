"""The agenda: a row for each enrollment under way that is due, now or later.

Whoever writes a row of it holds the enrollment. But a statement sees nothing that was committed after it
began, so one that had to wait for an enrollment would not find the row that was written meanwhile. Hence two
ways to take somebody off the agenda: leave alone who was moved since the statement began, as
`enrollments_moved.advance` does, or hold the enrollments first and write with the next statement.
"""

# For a statement that ends journeys which the one before it holds, and returns their old place as `ended`.
# The planner has no other way than to look up each by its key, whatever it believes of the table.
OFF_THE_AGENDA = """
    off as (
        delete from agenda a
        using (
            select found.place from ended e
            cross join lateral (
                select x.ctid as place from agenda x
                where x.workspace_id = e.workspace_id and x.version_id = e.version_id and x.step = e.step
                    and x.due_at = e.due_at and x.enrollment_id = e.id
                limit 1
            ) found
        ) those
        where a.ctid = those.place
    )
"""

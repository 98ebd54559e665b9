/* A growing list of findings, for one thread at a time. pack_check.c locks it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/report.h"

int report_add(gpa_report *report, const char *format, ...)
{
	if (array_reserve(report->lines, report->room, (uint64_t)report->count + 1, 16))
		return GPA_ENOMEM;
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	char *line = strdup(text);
	if (!line)
		return GPA_ENOMEM;
	report->lines[report->count++] = line;
	return GPA_OK;
}

void gpa_report_free(gpa_report *report)
{
	for (uint32_t i = 0; i < report->count; i++)
		free(report->lines[i]);
	free(report->lines);
	memset(report, 0, sizeof(*report));
}

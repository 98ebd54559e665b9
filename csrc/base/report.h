/* Adding to a list of findings. */
#ifndef GPA_REPORT_H
#define GPA_REPORT_H

#include "base/gpa_base.h"

/* Add a finding of at most 511 bytes. Returns GPA_OK or GPA_ENOMEM. */
__attribute__((format(printf, 2, 3)))
int report_add(gpa_report *report, const char *format, ...);

#endif
